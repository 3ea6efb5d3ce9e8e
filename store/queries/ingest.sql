-- name: watch_client
-- A bridge whose machine vanished must not hold the lock for the hours that the system's defaults allow.
SELECT set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '2', false),
       set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', '10000', false),
       set_config('synchronous_commit', 'on', false)

-- name: lock
SELECT pg_try_advisory_lock(42019)

-- name: devices
SELECT d.device_id, d.device, d.model, d.heartbeat_seconds, d.self_registered, coalesce(d.region, ''), d.gateway,
       coalesce(p.care_level, ''), coalesce(p.person, ''), nullif(p.thresholds, '{}'), d.drill,
       nullif(d.aliases, '{}'), d.clock_hours
FROM devices d LEFT JOIN people p USING (person_id)
WHERE d.device_id < %(before)s ORDER BY d.device_id DESC LIMIT 50000

-- name: listen_to_registry
LISTEN carebell_registry

-- name: listen_to_redrive
LISTEN carebell_redrive

-- name: server_time
SELECT clock_timestamp()

-- name: listen_to_rules
LISTEN carebell_rules

-- name: devices_since
SELECT d.device_id, d.device, d.model, d.heartbeat_seconds, d.self_registered, coalesce(d.region, ''), d.gateway,
       coalesce(p.care_level, ''), coalesce(p.person, ''), nullif(p.thresholds, '{}'), d.drill,
       nullif(d.aliases, '{}'), d.clock_hours
FROM devices d LEFT JOIN people p USING (person_id)
WHERE d.changed_at >= %(since)s

-- name: register
INSERT INTO devices (device, region, self_registered)
SELECT device, region, true FROM unnest(%(devices)s::text[], %(regions)s::text[]) AS n(device, region)
ON CONFLICT (device) DO UPDATE SET device = excluded.device
RETURNING device, device_id

-- name: devices_of
SELECT d.device_id, d.device, d.model, d.heartbeat_seconds, d.self_registered, coalesce(d.region, ''), d.gateway,
       coalesce(p.care_level, ''), coalesce(p.person, ''), nullif(p.thresholds, '{}'), d.drill,
       nullif(d.aliases, '{}'), d.clock_hours
FROM devices d LEFT JOIN people p USING (person_id)
WHERE d.device_id = ANY(%(device_ids)s)

-- name: applied_rules
-- What was applied last; what a bridge refused is passed over.
SELECT rule_set_id, source FROM rule_sets
WHERE applied_at IS NOT NULL AND refused IS NULL
ORDER BY rule_set_id DESC LIMIT 1

-- name: rules_of_settings
-- The version of a text that was not applied: the newest one if it is the same, else a new one.
WITH newest AS (
    SELECT rule_set_id, sha256 FROM rule_sets ORDER BY rule_set_id DESC LIMIT 1
), made AS (
    INSERT INTO rule_sets (sha256, source)
    SELECT sha256(convert_to(%(source)s, 'UTF8')), %(source)s
    WHERE NOT EXISTS (SELECT FROM newest WHERE sha256 = sha256(convert_to(%(source)s, 'UTF8')))
    RETURNING rule_set_id
)
SELECT rule_set_id FROM made UNION ALL SELECT rule_set_id FROM newest LIMIT 1

-- name: rule_sources
SELECT rule_set_id, source FROM rule_sets WHERE rule_set_id = ANY(%(versions)s)

-- name: use_rules
UPDATE rule_sets SET used_at = clock_timestamp() WHERE rule_set_id = %(rule_set_id)s

-- name: refuse_rules
UPDATE rule_sets SET refused = %(refused)s WHERE rule_set_id = %(rule_set_id)s

-- name: newest_batch
SELECT batch, run, newest_ts FROM ingest_ledger ORDER BY batch DESC LIMIT 1

-- name: ledger
-- Without what was re-driven: it brought no packet ids, and the engine learned nothing from it.
SELECT batch, lane, now, scan, coalesce(rule_set_id, 0), tick, forgiven_at, packet_ids, hashes FROM ingest_ledger
WHERE NOT redriven ORDER BY batch

-- name: write_ledger
INSERT INTO ingest_ledger (batch, run, lane, now, scan, newest_ts, packet_ids, hashes, redriven, rule_set_id,
                           tick, forgiven_at)
VALUES (%(batch)s, %(run)s, %(lane)s, %(now)s, %(scan)s, %(newest_ts)s, %(packet_ids)s, %(hashes)s, %(redriven)s,
        %(rule_set_id)s, %(tick)s, %(forgiven_at)s)

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
-- Whoever committed no message of a lane can have lost none: this is its very first session.
SELECT FROM ingest_ledger WHERE lane = %(lane)s AND NOT tick LIMIT 1

-- name: trim_ledger
-- A lane's last row of messages stays: it tells that the lane was heard.
DELETE FROM ingest_ledger WHERE lane = %(lane)s AND batch < %(batch)s
    AND batch < (SELECT max(batch) FROM ingest_ledger WHERE lane = %(lane)s AND NOT tick)

-- name: checkpoints
SELECT piece, batch, state, coalesce(rule_set_id, 0) FROM engine_checkpoints ORDER BY piece

-- name: write_checkpoint
INSERT INTO engine_checkpoints (piece, batch, taken_at, state, rule_set_id)
VALUES (%(piece)s, %(batch)s, %(taken_at)s, %(state)s, %(rule_set_id)s)
ON CONFLICT (piece) DO UPDATE SET
    batch = excluded.batch, taken_at = excluded.taken_at, state = excluded.state, rule_set_id = excluded.rule_set_id

-- name: raise_alarms
-- One open alarm per device and kind: a raise while it is open raises its count, and is about who has the device now.
-- Its severity rises and never falls; one that staff have seen is not suppressed by a repetition. Whether it is of a
-- drill is the registry's word alone, and what is not of one can never become so.
WITH given AS (
    SELECT g.*, d.person_id, coalesce(d.drill, false) AS drill
    FROM unnest(%(device_id)s::int[], %(kind)s::text[], %(class)s::text[], %(severity)s::text[], %(quality)s::text[],
                %(at)s::timestamptz[], %(detail)s::jsonb[], %(suppressed)s::text[], %(rule)s::int[])
         WITH ORDINALITY AS g(device_id, kind, class, severity, quality, at, detail, suppressed, rule, place)
    LEFT JOIN devices d USING (device_id)
), raised AS (
    INSERT INTO alarms AS a (device_id, person_id, kind, class, severity, quality, condition, raised_at, last_at, detail,
                             suppressed, rule, rule_set_id, drill)
    SELECT device_id, person_id, kind, class, severity, quality, 'active', at, at, detail,
           suppressed, rule, %(rule_set_id)s::int, drill
    FROM given ORDER BY place
    ON CONFLICT (device_id, kind) WHERE closed_at IS NULL DO UPDATE SET
        person_id = excluded.person_id,
        count = a.count + 1,
        last_at = greatest(a.last_at, excluded.last_at),
        quality = CASE WHEN excluded.quality = 'ok' THEN 'ok' ELSE a.quality END,
        severity = (ARRAY['critical', 'high', 'medium', 'low'])[least(
            array_position(ARRAY['critical', 'high', 'medium', 'low'], a.severity),
            array_position(ARRAY['critical', 'high', 'medium', 'low'], excluded.severity))],
        suppressed = CASE WHEN a.suppressed IS NOT NULL THEN excluded.suppressed END,
        drill = a.drill AND excluded.drill,
        condition = 'active',
        cleared_at = NULL,
        version = a.version + 1
    RETURNING alarm_id, device_id, kind, count
), said AS (
    SELECT * FROM raised JOIN given USING (device_id, kind)
), logged AS (
    INSERT INTO alarm_log (alarm_id, at, actor, verb, detail, rule, rule_set_id)
    SELECT alarm_id, at, 'carebell', CASE count WHEN 1 THEN 'raised' ELSE 'repeated' END, detail,
           rule, %(rule_set_id)s::int
    FROM said ORDER BY place
)
INSERT INTO outbox (alarm_id, channel, message)
SELECT alarm_id, 'downlink', 'raised' FROM said WHERE class = 'life' ORDER BY place

-- name: step_alarms
-- What an open alarm has come to: its severity rises and never falls.
WITH given AS (
    SELECT * FROM unnest(%(device_id)s::int[], %(kind)s::text[], %(severity)s::text[], %(at)s::timestamptz[],
                         %(detail)s::jsonb[], %(rule)s::int[])
         WITH ORDINALITY AS g(device_id, kind, severity, at, detail, rule, place)
), stepped AS (
    UPDATE alarms a SET severity = g.severity, version = a.version + 1
    FROM given g
    WHERE a.device_id = g.device_id AND a.kind = g.kind AND a.closed_at IS NULL
      AND array_position(ARRAY['critical', 'high', 'medium', 'low'], g.severity)
          < array_position(ARRAY['critical', 'high', 'medium', 'low'], a.severity)
    RETURNING a.alarm_id, g.place
)
INSERT INTO alarm_log (alarm_id, at, actor, verb, detail, rule, rule_set_id)
SELECT s.alarm_id, g.at, 'carebell', 'stepped', g.detail || jsonb_build_object('severity', g.severity),
       g.rule, %(rule_set_id)s::int
FROM stepped s JOIN given g USING (place) ORDER BY g.place

-- name: suppress_alarms
-- The outage of an area explains them: they stay, but not before staff. Calls for help stay there always.
WITH given AS (
    SELECT * FROM unnest(%(device_id)s::int[], %(kind)s::text[], %(at)s::timestamptz[], %(detail)s::jsonb[],
                         %(suppressed)s::text[], %(rule)s::int[])
         WITH ORDINALITY AS g(device_id, kind, at, detail, suppressed, rule, place)
), changed AS (
    UPDATE alarms a SET suppressed = g.suppressed, version = a.version + 1
    FROM given g
    WHERE a.device_id = g.device_id AND a.kind = g.kind AND a.closed_at IS NULL AND a.class <> 'life'
      AND a.suppressed IS DISTINCT FROM g.suppressed
    RETURNING a.alarm_id, g.place
)
INSERT INTO alarm_log (alarm_id, at, actor, verb, detail, rule, rule_set_id)
SELECT c.alarm_id, g.at, 'carebell', CASE WHEN g.suppressed IS NULL THEN 'unsuppressed' ELSE 'suppressed' END,
       g.detail || jsonb_strip_nulls(jsonb_build_object('area', g.suppressed)), g.rule, %(rule_set_id)s::int
FROM changed c JOIN given g USING (place) ORDER BY g.place

-- name: clear_alarms
-- A technical alarm closes itself when its condition clears; the others wait for duty.
WITH given AS (
    SELECT * FROM unnest(%(device_id)s::int[], %(kind)s::text[], %(at)s::timestamptz[], %(detail)s::jsonb[],
                         %(rule)s::int[])
         WITH ORDINALITY AS g(device_id, kind, at, detail, rule, place)
), cleared AS (
    UPDATE alarms a SET
        condition = 'cleared',
        cleared_at = g.at,
        closed_at = CASE class WHEN 'technical' THEN g.at END,
        closed_by = CASE class WHEN 'technical' THEN 'carebell' END,
        outcome = CASE class WHEN 'technical' THEN 'cleared' END,
        handling = CASE class WHEN 'technical' THEN 'closed' ELSE handling END,
        version = version + 1
    FROM given g
    WHERE a.device_id = g.device_id AND a.kind = g.kind AND a.closed_at IS NULL AND a.condition = 'active'
    RETURNING a.alarm_id, a.class, g.place
)
INSERT INTO alarm_log (alarm_id, at, actor, verb, detail, rule, rule_set_id)
SELECT c.alarm_id, g.at, 'carebell', CASE c.class WHEN 'technical' THEN 'closed' ELSE 'cleared' END, g.detail,
       g.rule, %(rule_set_id)s::int
FROM cleared c JOIN given g USING (place) ORDER BY g.place

-- name: own_told
-- A raise that the log has, to the microsecond and the word, is not written again.
SELECT FROM alarm_log l JOIN alarms a USING (alarm_id)
WHERE a.device_id = %(device_id)s AND a.kind = %(kind)s AND l.at = %(at)s AND l.detail = %(detail)s
LIMIT 1

-- name: dropped_told
SELECT l.detail->'dropped' FROM alarm_log l JOIN alarms a USING (alarm_id) JOIN devices d USING (device_id)
WHERE d.device = %(device)s AND a.kind = 'messages_dropped' AND l.detail ? 'dropped'
ORDER BY l.log_id DESC LIMIT 1

-- name: being_handled
SELECT DISTINCT device_id FROM alarms
WHERE closed_at IS NULL AND class = 'life' AND device_id = ANY(%(device_ids)s)

-- name: held_open
SELECT a.kind, a.device_id, d.device, a.suppressed IS NOT NULL
FROM alarms a JOIN devices d USING (device_id)
WHERE a.closed_at IS NULL AND a.condition = 'active'

-- name: unsent
SELECT o.outbox_id, o.message, o.alarm_id, a.kind, d.device, coalesce(d.region, '') AS region
FROM outbox o JOIN alarms a USING (alarm_id) JOIN devices d USING (device_id)
WHERE o.sent_at IS NULL AND o.channel = 'downlink'
ORDER BY o.outbox_id LIMIT 100

-- name: sent
UPDATE outbox SET sent_at = clock_timestamp() WHERE outbox_id = ANY(%(ids)s)

-- name: forget_states
-- Of sources that are not read any more: nobody would tell when such a state ends.
DELETE FROM device_states WHERE split_part(state, '.', 1) <> ALL(%(sources)s::text[])

-- name: device_states
SELECT device, state FROM device_states

-- name: states_begin
INSERT INTO device_states (device, state)
SELECT device, state FROM unnest(%(devices)s::text[], %(states)s::text[]) AS n(device, state)
ON CONFLICT DO NOTHING

-- name: states_end
DELETE FROM device_states s
USING unnest(%(devices)s::text[], %(states)s::text[]) AS n(device, state)
WHERE s.device = n.device AND s.state = n.state

-- name: set_clocks
-- The bridge hears of it as of every change of a device.
WITH changed AS (
    UPDATE devices d SET clock_hours = n.hours, changed_at = now()
    FROM unnest(%(device_ids)s::integer[], %(hours)s::smallint[]) AS n(device_id, hours)
    WHERE d.device_id = n.device_id AND d.clock_hours <> n.hours
    RETURNING d.device
)
SELECT pg_notify('carebell_registry', now()::text) FROM changed
