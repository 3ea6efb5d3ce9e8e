-- name: counts
SELECT CASE WHEN closed_at IS NULL THEN 'open' ELSE 'closed' END, count(*) FROM alarms WHERE NOT drill GROUP BY 1

-- name: latencies
-- From receipt, on the injected clock, to the commit, on the server's: real seconds, p50 and p99 of life alarms.
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds), percentile_cont(0.99) WITHIN GROUP (ORDER BY seconds)
FROM (
    SELECT extract(epoch FROM committed_at) - %(origin)s::float8
           - (extract(epoch FROM raised_at) - %(start)s::float8) / %(speed)s::float8 AS seconds
    FROM alarms WHERE class = 'life' AND NOT drill
) AS life
