-- Every update that is missing somewhere, the one that most nodes lack first.
WITH {nodes}
SELECT c.id AS patch, c.title, max(c.classification) AS classification, max(c.patchseverity) AS severity,
       count(DISTINCT concat(n.accountid, '/', n.region, '/', n.node)) AS missing_on,
       count(DISTINCT n.accountid) AS accounts, max(c.executiontime) AS last_scan
FROM nodes n
JOIN complianceitem c ON c.accountid = n.accountid AND c.region = n.region AND c.resourceid = n.node
CROSS JOIN asked
WHERE c.compliancetype = 'Patch' AND c.patchstate = 'Missing'
  AND (asked.since = '' OR c.executiontime >= asked.since)
GROUP BY c.id, c.title
ORDER BY count(DISTINCT concat(n.accountid, '/', n.region, '/', n.node)) DESC, c.id, c.title
