-- name: rows
-- What the history holds of everybody since a moment, by device, channel and day of the device's time: rows, those of
-- them that differ in device time or content, and of these the sums of times in ms and of values in tenths (by the
-- weights of device_sims.message); then rows whose time is the device's moved by whole hours, and those with another
-- time altogether. Rows without a device time all differ. Channel is the number of schemas.topics.Channel.
WITH history AS (
    SELECT device_id, 5 AS channel, ts, ts_sent, received_at, digest,
           round(coalesce(hr, 0) * 10) + round(coalesce(spo2, 0) * 10) * 3 + round(coalesce(temp, 0) * 10) * 7
           + round(coalesce(sbp, 0) * 10) * 11 + round(coalesce(dbp, 0) * 10) * 13 + coalesce(steps, 0) * 170 AS said
    FROM vitals WHERE received_at >= %(since)s
    UNION ALL
    SELECT device_id, 4, ts, ts_sent, received_at, digest, round(coalesce(battery, 0) * 10)
    FROM heartbeats WHERE received_at >= %(since)s
    UNION ALL
    SELECT device_id, 6, ts, ts_sent, received_at, digest, coalesce(steps, 0) * 170
    FROM activity WHERE received_at >= %(since)s
    UNION ALL
    SELECT device_id, channel, ts, ts_sent, received_at, digest, 0 FROM events WHERE received_at >= %(since)s
), timed AS (
    SELECT *, (extract(epoch FROM ts) * 1000)::bigint - ts_sent AS moved FROM history
), same AS (  -- a time that is not used is part of the digest
    SELECT *, digest # CASE WHEN moved <> 0 THEN ts_sent ELSE 0 END AS content FROM timed
), readings AS (
    SELECT device_id, channel, ts_sent, min(said) AS said, count(*) AS number,
           count(*) FILTER (WHERE moved <> 0 AND mod(moved, 3600000) = 0) AS moved,
           count(*) FILTER (WHERE mod(moved, 3600000) <> 0) AS away
    FROM same
    GROUP BY device_id, channel, ts_sent, content, CASE WHEN ts_sent IS NULL THEN received_at END
)
SELECT d.device, r.channel, r.day, r.number, r.differing, r.sent, r.said, r.moved, r.away
FROM (
    SELECT device_id, channel, div(ts_sent, 86400000)::integer AS day, sum(number)::bigint AS number,
           count(*) AS differing, coalesce(sum(ts_sent), 0)::bigint AS sent, sum(said)::bigint AS said,
           sum(moved)::bigint AS moved, sum(away)::bigint AS away
    FROM readings GROUP BY 1, 2, 3
) r JOIN devices d USING (device_id)

-- name: alarms
-- Calls' alarms since a moment, and why staff do not see one as they must: '' if they do.
SELECT d.device, a.kind, a.count, a.raised_at, a.last_at, a.closed_at,
       CASE WHEN a.suppressed IS NOT NULL THEN 'suppressed'
            WHEN a.drill THEN 'marked as a drill'
            WHEN a.class <> 'life' THEN 'of class ' || a.class
            WHEN a.severity NOT IN ('critical', 'high') THEN 'of severity ' || a.severity
            WHEN a.person_id IS DISTINCT FROM d.person_id THEN 'of another person'
            WHEN a.closed_at IS NOT NULL AND coalesce(a.closed_by, 'carebell') = 'carebell' THEN 'closed by nobody'
            ELSE '' END
FROM alarms a JOIN devices d USING (device_id)
WHERE a.kind IN ('sos', 'fall') AND a.raised_at >= %(since)s
ORDER BY a.alarm_id

-- name: calls
-- When calls for help were received that could be read: rows of the history, by the numbers of schemas.readings.Event.
SELECT d.device, CASE e.event WHEN 1 THEN 'sos' ELSE 'fall' END, e.received_at
FROM events e JOIN devices d USING (device_id)
WHERE e.received_at >= %(since)s AND e.event IN (1, 2, 3)

-- name: unreadable
-- When dead letters were received, by topic and what they hold: of those payloads.
SELECT topic, encode(payload_sha256, 'hex'), received_at FROM dead_letters
WHERE received_at >= %(since)s AND encode(payload_sha256, 'hex') = ANY (%(payloads)s)

-- name: dead
-- How often each dead letter stands there; what of it is kept must be what came, unless it was cut.
SELECT topic, sha256, reason, whole, count(*)::integer
FROM (
    SELECT topic, reason, whole,
           encode(CASE WHEN payload_length <= 65536 THEN sha256(payload) ELSE payload_sha256 END, 'hex') AS sha256
    FROM dead_letters WHERE received_at >= %(since)s
) letters
GROUP BY topic, sha256, reason, whole
