-- name: watch_client
-- A bridge whose machine vanished must not hold the lock for the hours that the system's defaults allow.
SELECT set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '2', false),
       set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '10000', false),
       set_config('synchronous_commit', 'on', false)

-- name: lock
SELECT pg_try_advisory_lock(42019)

-- name: devices
SELECT device_id, device, model, heartbeat_seconds, self_registered FROM devices
WHERE device_id < %(before)s ORDER BY device_id DESC LIMIT 50000

-- name: listen_to_registry
LISTEN carebell_registry

-- name: listen_to_redrive
LISTEN carebell_redrive

-- name: server_time
SELECT clock_timestamp()

-- name: devices_since
SELECT device_id, device, model, heartbeat_seconds, self_registered FROM devices WHERE changed_at >= %(since)s

-- name: register
INSERT INTO devices (device, region, self_registered)
SELECT device, region, true FROM unnest(%(devices)s::text[], %(regions)s::text[]) AS n(device, region)
ON CONFLICT (device) DO UPDATE SET device = excluded.device
RETURNING device, device_id

-- name: rule_set
INSERT INTO rule_sets (sha256, source) VALUES (sha256(convert_to(%(source)s, 'UTF8')), %(source)s)
ON CONFLICT (sha256) DO NOTHING

-- name: newest_batch
SELECT batch, run, newest_ts FROM ingest_ledger ORDER BY batch DESC LIMIT 1

-- name: ledger
-- Without what was re-driven: it brought no packet ids, and the engine learned nothing from it.
SELECT batch, lane, now, scan, packet_ids, hashes FROM ingest_ledger WHERE NOT redriven ORDER BY batch

-- name: write_ledger
INSERT INTO ingest_ledger (batch, run, lane, now, scan, newest_ts, packet_ids, hashes, redriven)
VALUES (%(batch)s, %(run)s, %(lane)s, %(now)s, %(scan)s, %(newest_ts)s, %(packet_ids)s, %(hashes)s, %(redriven)s)

-- name: check_at_once
-- What is refused must be refused where it can be told from the rest, not at COMMIT.
SET CONSTRAINTS ALL IMMEDIATE

-- name: device_again
-- The row of a device that somebody deleted, or the number under which its name stands now; none: it is there.
INSERT INTO devices (device_id, device, region, self_registered) OVERRIDING SYSTEM VALUE
SELECT %(device_id)s::integer, %(device)s::text, %(region)s::text, true
WHERE NOT EXISTS (SELECT FROM devices WHERE device_id = %(device_id)s)
ON CONFLICT (device) DO UPDATE SET device = excluded.device
RETURNING device_id

-- name: void_ledger
-- The broker lost the session: the packet ids it gave mean nothing any more.
UPDATE ingest_ledger SET packet_ids = '', hashes = '' WHERE lane = %(lane)s AND packet_ids <> ''

-- name: lane_was_heard
-- Whoever committed nothing of a lane can have lost nothing: this is its very first session.
SELECT FROM ingest_ledger WHERE lane = %(lane)s LIMIT 1

-- name: trim_ledger
-- A lane's last row stays: it tells that the lane was heard.
DELETE FROM ingest_ledger WHERE lane = %(lane)s AND batch < %(batch)s
    AND batch < (SELECT max(batch) FROM ingest_ledger WHERE lane = %(lane)s)

-- name: checkpoints
SELECT piece, batch, state FROM engine_checkpoints ORDER BY piece

-- name: write_checkpoint
INSERT INTO engine_checkpoints (piece, batch, taken_at, state)
VALUES (%(piece)s, %(batch)s, %(taken_at)s, %(state)s)
ON CONFLICT (piece) DO UPDATE SET batch = excluded.batch, taken_at = excluded.taken_at, state = excluded.state

-- name: raise_alarm
-- One open alarm per device and kind: a raise while it is open raises its count, and is about who has the device now.
WITH raised AS (
    INSERT INTO alarms AS a
        (device_id, person_id, kind, class, severity, quality, condition, raised_at, last_at, detail)
    VALUES (%(device_id)s, (SELECT person_id FROM devices WHERE device_id = %(device_id)s), %(kind)s, %(class)s,
            %(severity)s, %(quality)s, 'active', %(at)s, %(at)s, %(detail)s)
    ON CONFLICT (device_id, kind) WHERE closed_at IS NULL DO UPDATE SET
        person_id = excluded.person_id,
        count = a.count + 1,
        last_at = greatest(a.last_at, excluded.last_at),
        quality = CASE WHEN excluded.quality = 'ok' THEN 'ok' ELSE a.quality END,
        condition = 'active',
        cleared_at = NULL,
        version = a.version + 1
    RETURNING alarm_id, count, class
), logged AS (
    INSERT INTO alarm_log (alarm_id, at, actor, verb, detail)
    SELECT alarm_id, %(at)s, 'carebell', CASE count WHEN 1 THEN 'raised' ELSE 'repeated' END, %(detail)s FROM raised
)
INSERT INTO outbox (alarm_id, channel, message)
SELECT alarm_id, 'downlink', 'raised' FROM raised WHERE class = 'life'

-- name: own_told
-- A raise that the log has, to the microsecond and the word, is not written again.
SELECT FROM alarm_log l JOIN alarms a USING (alarm_id)
WHERE a.device_id = %(device_id)s AND a.kind = %(kind)s AND l.at = %(at)s AND l.detail = %(detail)s
LIMIT 1

-- name: dropped_told
SELECT l.detail->'dropped' FROM alarm_log l JOIN alarms a USING (alarm_id) JOIN devices d USING (device_id)
WHERE d.device = %(device)s AND a.kind = 'messages_dropped' AND l.detail ? 'dropped'
ORDER BY l.log_id DESC LIMIT 1

-- name: clear_alarm
-- A technical alarm closes itself when its condition clears; the others wait for duty.
WITH cleared AS (
    UPDATE alarms SET
        condition = 'cleared',
        cleared_at = %(at)s,
        closed_at = CASE class WHEN 'technical' THEN %(at)s END,
        closed_by = CASE class WHEN 'technical' THEN 'carebell' END,
        outcome = CASE class WHEN 'technical' THEN 'cleared' END,
        handling = CASE class WHEN 'technical' THEN 'closed' ELSE handling END,
        version = version + 1
    WHERE device_id = %(device_id)s AND kind = %(kind)s AND closed_at IS NULL AND condition = 'active'
    RETURNING alarm_id, class
)
INSERT INTO alarm_log (alarm_id, at, actor, verb)
SELECT alarm_id, %(at)s, 'carebell', CASE class WHEN 'technical' THEN 'closed' ELSE 'cleared' END FROM cleared

-- name: being_handled
SELECT DISTINCT device_id FROM alarms
WHERE closed_at IS NULL AND class = 'life' AND device_id = ANY(%(device_ids)s)

-- name: held_open
SELECT device_id FROM alarms WHERE kind = %(kind)s AND closed_at IS NULL AND condition = 'active'

-- name: unsent
SELECT o.outbox_id, o.message, o.alarm_id, a.kind, d.device, coalesce(d.region, '') AS region
FROM outbox o JOIN alarms a USING (alarm_id) JOIN devices d USING (device_id)
WHERE o.sent_at IS NULL AND o.channel = 'downlink'
ORDER BY o.outbox_id LIMIT 100

-- name: sent
UPDATE outbox SET sent_at = clock_timestamp() WHERE outbox_id = ANY(%(ids)s)
