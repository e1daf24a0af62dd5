-- Every patch that keeps a node from being compliant, the newest scan first.
WITH {nodes}
SELECT n.accountid AS account, n.region, n.node, n.name, n.platform, c.executiontime AS scanned_at, c.classification,
       c.patchseverity AS severity, c.severity AS compliance_severity, c.patchstate AS state, c.id AS patch, c.title,
       c.cveids AS cves
FROM nodes n
JOIN complianceitem c ON c.accountid = n.accountid AND c.region = n.region AND c.resourceid = n.node
CROSS JOIN asked
WHERE c.compliancetype = 'Patch' AND c.status = 'NON_COMPLIANT'
  AND (asked.since = '' OR c.executiontime >= asked.since)
ORDER BY c.executiontime DESC, n.accountid, n.region, n.node, c.id, c.title
