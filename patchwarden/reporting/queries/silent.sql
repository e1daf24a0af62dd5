-- Every node that does not check in: its agent is not active, or it was not scanned since the moment asked for.
WITH {nodes},
scans AS (
  SELECT p.accountid, p.region, p.resourceid AS node, max(p.operationendtime) AS last_scan
  FROM patchsummary p
  GROUP BY p.accountid, p.region, p.resourceid
)
SELECT n.accountid AS account, n.region, n.node, n.name, n.platform, n.status, s.last_scan,
       CASE WHEN n.status <> 'Active' THEN concat('its status is ', n.status)
            WHEN s.last_scan IS NULL THEN 'it was never scanned'
            ELSE 'its last scan is too old' END AS because
FROM nodes n
LEFT JOIN scans s ON s.accountid = n.accountid AND s.region = n.region AND s.node = n.node
CROSS JOIN asked
WHERE n.status <> 'Active' OR s.last_scan IS NULL OR (asked.since <> '' AND s.last_scan < asked.since)
ORDER BY coalesce(s.last_scan, ''), n.accountid, n.region, n.node
