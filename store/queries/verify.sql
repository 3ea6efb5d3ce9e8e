-- name: alarms
-- Alarms of all devices since a moment, with their occurrence; those of drills are nobody's calls.
SELECT d.device, a.kind,
       row_number() OVER (PARTITION BY a.device_id, a.kind ORDER BY a.alarm_id)::integer AS occurrence,
       a.count, a.raised_at, a.cleared_at,
       CASE WHEN a.closed_at IS NULL THEN '' WHEN a.outcome = 'cleared' THEN 'carebell' ELSE 'duty' END AS closed,
       a.quality
FROM alarms a JOIN devices d USING (device_id)
WHERE a.raised_at >= %(since)s AND NOT a.drill
ORDER BY a.alarm_id

-- name: rows
-- How often each (device, channel, seq) stands in the history; channel is the number of schemas.topics.Channel. Without
-- what devices said for drills.
WITH history AS (
    SELECT device_id, 5 AS channel, seq, received_at FROM vitals WHERE received_at >= %(since)s
    UNION ALL
    SELECT device_id, 4, seq, received_at FROM heartbeats WHERE received_at >= %(since)s
    UNION ALL
    SELECT device_id, 6, seq, received_at FROM activity WHERE received_at >= %(since)s
    UNION ALL
    SELECT device_id, channel, seq, received_at FROM events WHERE received_at >= %(since)s
)
SELECT d.device, h.channel, h.seq, count(*)::integer
FROM history h JOIN devices d USING (device_id)
WHERE NOT d.drill AND (d.drill_until IS NULL OR h.received_at >= d.drill_until)
GROUP BY d.device, h.channel, h.seq

-- name: dead
-- How often each dead letter stands there.
SELECT topic, encode(payload_sha256, 'hex'), reason, whole, count(*)::integer
FROM dead_letters
WHERE received_at >= %(since)s
GROUP BY topic, payload_sha256, reason, whole

-- name: known
-- Every device of the registry.
SELECT device FROM devices
