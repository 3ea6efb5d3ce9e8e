-- The history as a stream for the backtest: columns bear the names that they have in a reading. Each column comes as
-- one array, which costs a third of what rows cost. No value is null: NaN stands for what was not measured.

-- name: read_through
-- Until the transaction ends, chunks are read one after another: there is no index on received_at, and that on ts
-- is by device.
SELECT set_config('enable_seqscan', 'on', true), set_config('enable_bitmapscan', 'off', true)

-- name: blocks
-- In which blocks of batches there is something that was received in the span. Times of receipt do not rise with
-- batches: what is re-driven keeps its own, and a clock can be set back. So each row is looked at that may be one:
-- ts lies near the receipt, which leaves out most chunks.
SELECT batch / %(size)s FROM vitals
WHERE received_at >= %(since)s AND received_at < %(until)s AND ts >= %(oldest)s AND ts < %(newest)s UNION
SELECT batch / %(size)s FROM heartbeats
WHERE received_at >= %(since)s AND received_at < %(until)s AND ts >= %(oldest)s AND ts < %(newest)s UNION
SELECT batch / %(size)s FROM activity
WHERE received_at >= %(since)s AND received_at < %(until)s AND ts >= %(oldest)s AND ts < %(newest)s UNION
SELECT batch / %(size)s FROM events
WHERE received_at >= %(since)s AND received_at < %(until)s AND ts >= %(oldest)s AND ts < %(newest)s UNION
SELECT batch / %(size)s FROM dead_letters WHERE received_at >= %(since)s AND received_at < %(until)s

-- name: vitals
SELECT array_agg(device_id) AS device_id, array_agg(ts) AS ts, array_agg(received_at) AS received_at,
       array_agg(time_quality) AS quality, array_agg(digest) AS digest,
       array_agg(coalesce(hr, 'NaN')) AS hr, array_agg(coalesce(spo2, 'NaN')) AS spo2,
       array_agg(coalesce(temp, 'NaN')) AS temp, array_agg(coalesce(sbp, 'NaN')) AS sbp,
       array_agg(coalesce(dbp, 'NaN')) AS dbp, array_agg(coalesce(glucose, 'NaN')) AS glucose,
       array_agg(coalesce(worn::int::real, 'NaN')) AS worn, array_agg(coalesce(steps::real, 'NaN')) AS steps
FROM vitals
WHERE batch BETWEEN %(first)s AND %(last)s AND received_at >= %(since)s AND received_at < %(until)s
  AND (%(region)s = '' OR device_id IN (SELECT device_id FROM devices WHERE starts_with(region, %(region)s)))

-- name: heartbeats
SELECT array_agg(device_id) AS device_id, array_agg(ts) AS ts, array_agg(received_at) AS received_at,
       array_agg(time_quality) AS quality, array_agg(digest) AS digest,
       array_agg(coalesce(battery, 'NaN')) AS battery, array_agg(coalesce(rssi, 'NaN')) AS rssi,
       array_agg(coalesce(mains::int::real, 'NaN')) AS mains
FROM heartbeats
WHERE batch BETWEEN %(first)s AND %(last)s AND received_at >= %(since)s AND received_at < %(until)s
  AND (%(region)s = '' OR device_id IN (SELECT device_id FROM devices WHERE starts_with(region, %(region)s)))

-- name: activity
SELECT array_agg(device_id) AS device_id, array_agg(ts) AS ts, array_agg(received_at) AS received_at,
       array_agg(time_quality) AS quality, array_agg(digest) AS digest,
       array_agg(coalesce(motion::int::real, 'NaN')) AS motion, array_agg(coalesce(steps::real, 'NaN')) AS steps
FROM activity
WHERE batch BETWEEN %(first)s AND %(last)s AND received_at >= %(since)s AND received_at < %(until)s
  AND (%(region)s = '' OR device_id IN (SELECT device_id FROM devices WHERE starts_with(region, %(region)s)))

-- name: events
SELECT array_agg(device_id) AS device_id, array_agg(ts) AS ts, array_agg(received_at) AS received_at,
       array_agg(time_quality) AS quality, array_agg(digest) AS digest,
       array_agg(channel) AS channel, array_agg(event) AS event,
       array_agg(NOT coalesce((detail->>'retained')::boolean, false) AND event <> 17) AS alive
FROM events
WHERE batch BETWEEN %(first)s AND %(last)s AND received_at >= %(since)s AND received_at < %(until)s
  AND (%(region)s = '' OR device_id IN (SELECT device_id FROM devices WHERE starts_with(region, %(region)s)))

-- name: unreadable_calls
-- Dead letters of topics that end as a call for help does: they alarmed. What the registry says of the region counts.
SELECT l.received_at, l.topic, l.payload_length, l.payload_sha256, l.reason, l.detail
FROM dead_letters l LEFT JOIN devices d ON d.device = split_part(l.topic, '/', 4)
WHERE l.batch BETWEEN %(first)s AND %(last)s AND l.received_at >= %(since)s AND l.received_at < %(until)s
  AND l.whole AND l.topic ~* '/\s*(sos|fall)\s*[/ ]*$'
  AND starts_with(coalesce(d.region, split_part(l.topic, '/', 3)), %(region)s)

-- name: names
SELECT device_id, device FROM devices WHERE device_id = ANY(%(device_ids)s)
