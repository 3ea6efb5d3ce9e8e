-- name: vitals
SELECT batch, device_id, ts, received_at, time_quality, digest, hr, spo2, temp, sbp, dbp, glucose, worn, steps
FROM vitals WHERE batch > %(batch)s

-- name: heartbeats
SELECT batch, device_id, ts, received_at, time_quality, digest, battery, rssi, mains
FROM heartbeats WHERE batch > %(batch)s

-- name: activity
SELECT batch, device_id, ts, received_at, time_quality, digest, motion, steps
FROM activity WHERE batch > %(batch)s

-- name: events
SELECT batch, device_id, ts, received_at, time_quality, digest, channel, event,
       NOT coalesce((detail->>'retained')::boolean, false) AND event <> 17 AS alive
FROM events WHERE batch > %(batch)s

-- name: dead_letters
SELECT batch, received_at, topic, payload_length, payload_sha256, reason, detail
FROM dead_letters WHERE batch > %(batch)s AND whole
