-- Every CVE that a missing or failed patch would close, the one that is open on most nodes first.
WITH {nodes}
SELECT trim(u.cve) AS cve, count(DISTINCT concat(n.accountid, '/', n.region, '/', n.node)) AS open_on,
       count(DISTINCT n.accountid) AS accounts, count(DISTINCT c.id) AS patches, min(c.id) AS first_patch
FROM nodes n
JOIN complianceitem c ON c.accountid = n.accountid AND c.region = n.region AND c.resourceid = n.node
CROSS JOIN asked
CROSS JOIN UNNEST(split(c.cveids, ',')) AS u(cve)
WHERE c.compliancetype = 'Patch' AND c.status = 'NON_COMPLIANT' AND trim(u.cve) <> ''
  AND (asked.since = '' OR c.executiontime >= asked.since)
GROUP BY trim(u.cve)
ORDER BY count(DISTINCT concat(n.accountid, '/', n.region, '/', n.node)) DESC, trim(u.cve)
