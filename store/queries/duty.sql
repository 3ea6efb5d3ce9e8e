-- The desk: what it lists, and the moves. Ingest writes the same rows at the same time, so a move locks its
-- row first, and no statement here touches count, condition or what else is ingest's.

-- name: open_alarms
-- Life first, then the severest, then the oldest; without those that are shelved, and without what an outage explains.
SELECT * FROM duty_alarms
WHERE closed_at IS NULL AND suppressed IS NULL AND shelved_until IS NULL
  AND (%(device)s::text IS NULL OR device = %(device)s)
ORDER BY class <> 'life', array_position(ARRAY['critical', 'high', 'medium', 'low'], severity), raised_at, alarm_id
LIMIT %(limit)s

-- name: shelved_alarms
-- In the same order; also what was put away with the outage that explained it.
SELECT * FROM duty_alarms
WHERE closed_at IS NULL AND shelved_until IS NOT NULL
  AND (%(device)s::text IS NULL OR device = %(device)s)
ORDER BY class <> 'life', array_position(ARRAY['critical', 'high', 'medium', 'low'], severity), raised_at, alarm_id
LIMIT %(limit)s

-- name: all_alarms
-- Newest first.
SELECT * FROM duty_alarms ORDER BY alarm_id DESC LIMIT %(limit)s

-- name: closed_alarms
SELECT * FROM duty_alarms WHERE closed_at IS NOT NULL ORDER BY alarm_id DESC LIMIT %(limit)s

-- name: device_all_alarms
-- Newest first, of one device.
SELECT * FROM duty_alarms
WHERE device_id = (SELECT device_id FROM devices WHERE device = %(device)s)
ORDER BY alarm_id DESC
LIMIT %(limit)s

-- name: device_closed_alarms
SELECT * FROM duty_alarms
WHERE device_id = (SELECT device_id FROM devices WHERE device = %(device)s) AND closed_at IS NOT NULL
ORDER BY alarm_id DESC
LIMIT %(limit)s

-- name: count_open
-- A list is cut at its limit; these figures are not.
SELECT count(*) FILTER (WHERE suppressed IS NULL AND shelved_until IS NULL) AS open,
       count(*) FILTER (WHERE class = 'life') AS life,
       count(*) FILTER (WHERE handling = 'unacknowledged' AND suppressed IS NULL AND shelved_until IS NULL)
           AS unacknowledged,
       count(*) FILTER (WHERE suppressed IS NOT NULL AND shelved_until IS NULL) AS suppressed,
       count(*) FILTER (WHERE shelved_until IS NOT NULL) AS shelved
FROM alarms
WHERE closed_at IS NULL

-- name: one_alarm
SELECT * FROM duty_alarms WHERE alarm_id = %(alarm_id)s

-- name: lock_alarms
-- Whoever comes second waits here and then sees what the first one did.
SELECT a.alarm_id, a.handling, a.class, a.kind, a.version, a.acknowledged_by, a.closed_by, a.closed_at, a.outcome,
       a.shelved_until, a.suppressed, a.drill, a.dispatched_to, d.device
FROM alarms a JOIN devices d USING (device_id)
WHERE a.alarm_id = ANY(%(alarm_ids)s) ORDER BY a.alarm_id FOR UPDATE OF a

-- name: give_way
-- Where several rows are locked at once, the desk gives way before the server has to choose between it and the writer.
SET LOCAL lock_timeout = '300ms'

-- name: lock_outage
-- An outage with all that it explains, which is often older than it is: in the order of their numbers as well, and
-- so before the outage itself is looked at.
WITH locked AS (
    SELECT alarm_id FROM alarms
    WHERE alarm_id = ANY(ARRAY(
        SELECT s.alarm_id
        FROM alarms o JOIN devices d USING (device_id) JOIN alarms s ON s.suppressed = substr(d.device, 7)
        WHERE o.alarm_id = %(alarm_id)s AND o.kind = 'area_outage' AND s.closed_at IS NULL AND s.class <> 'life'
        UNION ALL SELECT %(alarm_id)s::bigint))
    ORDER BY alarm_id FOR UPDATE
)
SELECT count(*) FROM locked

-- name: acknowledge
UPDATE alarms
SET handling = %(handling)s, acknowledged_at = coalesce(acknowledged_at, %(at)s), acknowledged_by = %(by)s, version = version + 1
WHERE alarm_id = %(alarm_id)s

-- name: assign
UPDATE alarms SET assigned_to = %(to)s, version = version + 1 WHERE alarm_id = %(alarm_id)s

-- name: dispatch
-- dispatched_at stays the first one, which the time to arrival is measured from; the log has each.
UPDATE alarms
SET handling = %(handling)s, dispatched_at = coalesce(dispatched_at, %(at)s),
    dispatched_to = CASE WHEN %(to)s::text = ANY(string_to_array(dispatched_to, '、')) THEN dispatched_to
                         ELSE concat_ws('、', dispatched_to, %(to)s::text) END,
    version = version + 1
WHERE alarm_id = %(alarm_id)s

-- name: arrive
UPDATE alarms SET handling = %(handling)s, arrived_at = coalesce(arrived_at, %(at)s), version = version + 1
WHERE alarm_id = %(alarm_id)s

-- name: note
UPDATE alarms SET version = version + 1 WHERE alarm_id = %(alarm_id)s

-- name: merge
UPDATE alarms
SET handling = %(handling)s, closed_at = %(at)s, closed_by = %(by)s, outcome = 'merged', parent_id = %(parent)s,
    version = version + 1
WHERE alarm_id = %(alarm_id)s

-- name: adopt
-- The other one's log tells what was merged into it.
WITH adopted AS (
    UPDATE alarms SET version = version + 1 WHERE alarm_id = %(parent)s RETURNING alarm_id
)
INSERT INTO alarm_log (alarm_id, at, actor, verb, detail)
SELECT alarm_id, %(at)s, %(by)s, 'adopted', jsonb_build_object('child', %(alarm_id)s::bigint) FROM adopted

-- name: shelve
UPDATE alarms SET shelved_until = %(until)s, version = version + 1 WHERE alarm_id = %(alarm_id)s

-- name: unshelve
UPDATE alarms SET shelved_until = NULL, version = version + 1 WHERE alarm_id = %(alarm_id)s

-- name: close
UPDATE alarms
SET handling = %(handling)s, closed_at = %(at)s, closed_by = %(by)s, outcome = %(outcome)s, version = version + 1
WHERE alarm_id = %(alarm_id)s

-- name: put_away_explained
-- What the outage of an area explains goes with it, and nobody is forgotten: what comes back closes itself, what does not
-- stands before staff when the shelf ends. A call for help is never put away.
WITH explained AS (
    SELECT alarm_id FROM alarms
    WHERE closed_at IS NULL AND class <> 'life' AND suppressed = %(area)s ORDER BY alarm_id FOR UPDATE
), shelved AS (
    UPDATE alarms a SET shelved_until = %(at)s + make_interval(mins => %(minutes)s), version = a.version + 1
    FROM explained e WHERE a.alarm_id = e.alarm_id
    RETURNING a.alarm_id
)
INSERT INTO alarm_log (alarm_id, at, actor, verb, detail)
SELECT alarm_id, %(at)s, %(by)s, 'shelved',
       jsonb_build_object('minutes', %(minutes)s::int, 'parent', %(alarm_id)s::bigint)
FROM shelved ORDER BY alarm_id

-- name: open_of_same_kind
SELECT o.alarm_id FROM alarms a JOIN alarms o USING (device_id, kind)
WHERE a.alarm_id = %(alarm_id)s AND o.closed_at IS NULL

-- name: reopen
-- The first times of answering and arriving stay, and who answered: figures are theirs. Who was sent is for the log. It is in the
-- hands of whoever opened it again, and stands before staff, whatever had kept it from there.
UPDATE alarms
SET handling = %(handling)s, acknowledged_at = coalesce(acknowledged_at, %(at)s),
    acknowledged_by = coalesce(acknowledged_by, %(by)s), assigned_to = %(by)s, closed_at = NULL, closed_by = NULL, outcome = NULL, parent_id = NULL, shelved_until = NULL, suppressed = NULL, dispatched_to = NULL,
    reopened = reopened + 1, version = version + 1
WHERE alarm_id = %(alarm_id)s

-- name: end_shelves
-- What was put away long enough stands before staff again; whatever somebody is at work on comes at the next look. An outage
-- explains it further only if there is one: the engine does not hear of one that staff closed.
WITH over AS (
    SELECT alarm_id FROM alarms
    WHERE closed_at IS NULL AND shelved_until <= %(at)s ORDER BY alarm_id LIMIT 1000 FOR UPDATE SKIP LOCKED
), ended AS (
    UPDATE alarms a SET shelved_until = NULL, version = a.version + 1,
        suppressed = CASE WHEN EXISTS (SELECT FROM board_outages b WHERE b.area = a.suppressed) THEN a.suppressed END
    FROM over o WHERE a.alarm_id = o.alarm_id
    RETURNING a.alarm_id
), logged AS (
    INSERT INTO alarm_log (alarm_id, at, actor, verb)
    SELECT alarm_id, %(at)s, 'carebell', 'unshelved' FROM ended ORDER BY alarm_id
)
SELECT count(*) FROM ended

-- name: end_explanations
-- What the outage of an area explains stands before staff when there is none any more: staff closed it, and it goes on. Nothing
-- that is younger than %(before)s, for an outage is raised a moment after what it explains.
WITH over AS (
    SELECT alarm_id FROM alarms a
    WHERE closed_at IS NULL AND suppressed IS NOT NULL AND shelved_until IS NULL AND last_at <= %(before)s
      AND NOT EXISTS (SELECT FROM board_outages b WHERE b.area = a.suppressed)
    ORDER BY alarm_id LIMIT 1000 FOR UPDATE SKIP LOCKED
), ended AS (
    UPDATE alarms a SET suppressed = NULL, version = a.version + 1
    FROM over o WHERE a.alarm_id = o.alarm_id
    RETURNING a.alarm_id
), logged AS (
    INSERT INTO alarm_log (alarm_id, at, actor, verb)
    SELECT alarm_id, %(at)s, 'carebell', 'unsuppressed' FROM ended ORDER BY alarm_id
)
SELECT count(*) FROM ended

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
