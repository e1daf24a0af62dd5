-- Every version of the agent, the one on most nodes first.
WITH {nodes}
SELECT coalesce(n.agent_version, 'unknown') AS agent_version, coalesce(n.platform_type, 'unknown') AS platform_type,
       count(*) AS nodes, count(DISTINCT n.accountid) AS accounts,
       CAST(sum(CASE WHEN n.status = 'Active' THEN 1 ELSE 0 END) AS bigint) AS active
FROM nodes n
CROSS JOIN asked
WHERE asked.since = '' OR n.captured >= asked.since
GROUP BY coalesce(n.agent_version, 'unknown'), coalesce(n.platform_type, 'unknown')
ORDER BY count(*) DESC, coalesce(n.agent_version, 'unknown'), coalesce(n.platform_type, 'unknown')
