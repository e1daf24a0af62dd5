-- Every account, the one with the most non-compliant nodes first. A node without any scan counts as unscanned.
WITH {nodes},
scanned AS (
  SELECT c.accountid, c.region, c.resourceid AS node,
         sum(CASE WHEN c.status = 'NON_COMPLIANT' THEN 1 ELSE 0 END) AS patches,
         sum(CASE WHEN c.status = 'NON_COMPLIANT' AND c.severity = 'CRITICAL' THEN 1 ELSE 0 END) AS critical
  FROM complianceitem c
  CROSS JOIN asked
  WHERE c.compliancetype = 'Patch' AND (asked.since = '' OR c.executiontime >= asked.since)
  GROUP BY c.accountid, c.region, c.resourceid
)
SELECT n.accountid AS account, count(*) AS nodes,
       CAST(sum(CASE WHEN s.patches > 0 THEN 1 ELSE 0 END) AS bigint) AS noncompliant,
       CAST(sum(CASE WHEN s.node IS NULL THEN 1 ELSE 0 END) AS bigint) AS unscanned,
       round(CAST(100 AS double) * sum(CASE WHEN s.patches > 0 THEN 1 ELSE 0 END) / count(*), 1) AS percent_noncompliant,
       CAST(coalesce(sum(s.patches), 0) AS bigint) AS patches,
       CAST(coalesce(sum(s.critical), 0) AS bigint) AS critical_patches
FROM nodes n
LEFT JOIN scanned s ON s.accountid = n.accountid AND s.region = n.region AND s.node = n.node
GROUP BY n.accountid
ORDER BY sum(CASE WHEN s.patches > 0 THEN 1 ELSE 0 END) DESC, n.accountid
