-- The desk: what it lists, and the three moves. Ingest writes the same rows at the same time, so a move locks its
-- row first, and no statement here touches count, condition or what else is ingest's.

-- name: open_alarms
-- Life first, then the severest, then the oldest; not those that the outage of an area explains.
SELECT * FROM duty_alarms
WHERE closed_at IS NULL AND suppressed IS NULL AND (%(device)s::text IS NULL OR device = %(device)s)
ORDER BY class <> 'life', array_position(ARRAY['critical', 'high', 'medium', 'low'], severity), raised_at, alarm_id
LIMIT %(limit)s

-- name: recent_alarms
-- Newest first.
SELECT * FROM duty_alarms
WHERE closed_at IS NOT NULL OR NOT %(closed_only)s
ORDER BY alarm_id DESC
LIMIT %(limit)s

-- name: device_alarms
-- Newest first, of one device.
SELECT * FROM duty_alarms
WHERE device_id = (SELECT device_id FROM devices WHERE device = %(device)s)
  AND (closed_at IS NOT NULL OR NOT %(closed_only)s)
ORDER BY alarm_id DESC
LIMIT %(limit)s

-- name: count_open
-- A list is cut at its limit; these figures are not.
SELECT count(*) FILTER (WHERE suppressed IS NULL) AS open,
       count(*) FILTER (WHERE class = 'life') AS life,
       count(*) FILTER (WHERE handling = 'unacknowledged' AND suppressed IS NULL) AS unacknowledged,
       count(*) FILTER (WHERE suppressed IS NOT NULL) AS suppressed
FROM alarms
WHERE closed_at IS NULL

-- name: one_alarm
SELECT * FROM duty_alarms WHERE alarm_id = %(alarm_id)s

-- name: log_of_alarm
SELECT l.at, l.actor, l.verb, l.detail, l.rule, l.rule_set_id, a.kind
FROM alarm_log l JOIN alarms a USING (alarm_id)
WHERE l.alarm_id = %(alarm_id)s ORDER BY l.log_id

-- name: person_of_alarm
-- What the caller must know; no row where nobody had the device.
SELECT p.name, p.sex, p.birth_year, p.phone, p.address, p.notes
FROM alarms a JOIN people p USING (person_id)
WHERE a.alarm_id = %(alarm_id)s

-- name: contacts_of_alarm
-- In the order in which to call.
SELECT c.name, c.relation, c.phone
FROM alarms a JOIN contacts c USING (person_id)
WHERE a.alarm_id = %(alarm_id)s
ORDER BY c.rank

-- name: lock_alarm
-- Whoever comes second waits here and then sees what the first one did.
SELECT handling, class, version, acknowledged_by, closed_by FROM alarms WHERE alarm_id = %(alarm_id)s FOR UPDATE

-- name: acknowledge
UPDATE alarms
SET handling = 'acknowledged', acknowledged_at = %(at)s, acknowledged_by = %(by)s, version = version + 1
WHERE alarm_id = %(alarm_id)s

-- name: dispatch
-- dispatched_at stays the first one, which the time to arrival is measured from; the log has each.
UPDATE alarms
SET handling = 'dispatched', dispatched_at = coalesce(dispatched_at, %(at)s),
    dispatched_to = concat_ws('、', dispatched_to, %(to)s::text), version = version + 1
WHERE alarm_id = %(alarm_id)s

-- name: close
UPDATE alarms
SET handling = 'closed', closed_at = %(at)s, closed_by = %(by)s, outcome = %(outcome)s, version = version + 1
WHERE alarm_id = %(alarm_id)s

-- name: append_to_log
INSERT INTO alarm_log (alarm_id, at, actor, verb, detail)
VALUES (%(alarm_id)s, %(at)s, %(by)s, %(verb)s, %(detail)s)

-- name: enqueue_downlink
INSERT INTO outbox (alarm_id, channel, message) VALUES (%(alarm_id)s, 'downlink', %(message)s)

-- name: health
-- Fails where the tables are missing, and not only where the server is.
SELECT EXISTS (SELECT FROM alarms)

-- name: bound_session
-- A desk that stalls must hold up neither its operator nor, by a locked row, the writer of alarms.
SELECT set_config('statement_timeout', '4s', false),
       set_config('idle_in_transaction_session_timeout', '3s', false)
