-- Every installed application whose name holds the text asked for, by name and version.
WITH {nodes},
named AS (
  SELECT CAST(? AS varchar) AS text
)
SELECT a.name, a.version, a.publisher, count(DISTINCT concat(n.accountid, '/', n.region, '/', n.node)) AS installed_on,
       count(DISTINCT n.accountid) AS accounts
FROM nodes n
JOIN application a ON a.accountid = n.accountid AND a.region = n.region AND a.resourceid = n.node
CROSS JOIN asked
CROSS JOIN named
WHERE strpos(lower(a.name), lower(named.text)) > 0 AND (asked.since = '' OR a.capturetime >= asked.since)
GROUP BY a.name, a.version, a.publisher
ORDER BY a.name, a.version, coalesce(a.publisher, '')
