-- What a restore reads of the history: columns bear the names that they have in a reading.

-- name: vitals
SELECT (batch - %(first)s)::int AS message, device_id,
       (extract(epoch FROM ts) * 1000000)::bigint AS ts, (extract(epoch FROM received_at) * 1000000)::bigint AS received_at,
       time_quality AS quality, digest,
       hr, spo2, temp, sbp, dbp, glucose, worn, steps
FROM vitals WHERE batch BETWEEN %(first)s AND %(last)s AND batch = ANY(%(numbers)s)

-- name: heartbeats
SELECT (batch - %(first)s)::int AS message, device_id,
       (extract(epoch FROM ts) * 1000000)::bigint AS ts, (extract(epoch FROM received_at) * 1000000)::bigint AS received_at,
       time_quality AS quality, digest,
       battery, rssi, mains
FROM heartbeats WHERE batch BETWEEN %(first)s AND %(last)s AND batch = ANY(%(numbers)s)

-- name: activity
SELECT (batch - %(first)s)::int AS message, device_id,
       (extract(epoch FROM ts) * 1000000)::bigint AS ts, (extract(epoch FROM received_at) * 1000000)::bigint AS received_at,
       time_quality AS quality, digest,
       motion, steps
FROM activity WHERE batch BETWEEN %(first)s AND %(last)s AND batch = ANY(%(numbers)s)

-- name: events
SELECT (batch - %(first)s)::int AS message, device_id,
       (extract(epoch FROM ts) * 1000000)::bigint AS ts, (extract(epoch FROM received_at) * 1000000)::bigint AS received_at,
       time_quality AS quality, digest,
       channel, event, NOT coalesce((detail->>'retained')::boolean, false) AND event <> 17 AS alive
FROM events WHERE batch BETWEEN %(first)s AND %(last)s AND batch = ANY(%(numbers)s)

-- name: dead_letters
SELECT batch, received_at, topic, payload_length, payload_sha256, reason, detail
FROM dead_letters WHERE batch BETWEEN %(first)s AND %(last)s AND batch = ANY(%(numbers)s) AND whole
