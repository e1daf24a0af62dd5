asked AS (
  SELECT CAST(? AS varchar) AS since, CAST(? AS varchar) AS tags
),
wanted AS (
  SELECT DISTINCT t.pair FROM asked CROSS JOIN UNNEST(split(asked.tags, chr(10))) AS t(pair) WHERE t.pair <> ''
),
tagged AS (
  SELECT g.accountid, g.region, g.resourceid, count(DISTINCT w.pair) AS many
  FROM tag g
  JOIN wanted w ON concat(g.key, '=', coalesce(g.value, '')) = w.pair
  GROUP BY g.accountid, g.region, g.resourceid
),
known AS (
  SELECT i.accountid, i.region, coalesce(i.resourceid, i.instanceid) AS node, max(i.computername) AS name,
         max(i.platformname) AS platform, max(i.platformtype) AS platform_type, max(i.agentversion) AS agent_version,
         max(i.instancestatus) AS status, max(i.capturetime) AS captured
  FROM instanceinformation i
  GROUP BY i.accountid, i.region, coalesce(i.resourceid, i.instanceid)
),
every AS (
  SELECT k.accountid, k.region, k.node FROM known k
  UNION
  SELECT c.accountid, c.region, c.resourceid AS node FROM complianceitem c
),
nodes AS (
  SELECT e.accountid, e.region, e.node, k.name, k.platform, k.platform_type, k.agent_version,
         coalesce(k.status, 'unknown') AS status, k.captured
  FROM every e
  LEFT JOIN known k ON k.accountid = e.accountid AND k.region = e.region AND k.node = e.node
  LEFT JOIN tagged g ON g.accountid = e.accountid AND g.region = e.region AND g.resourceid = e.node
  CROSS JOIN (SELECT count(*) AS many FROM wanted) w
  WHERE coalesce(k.status, 'unknown') <> 'Terminated' AND coalesce(g.many, 0) = w.many
)
