-- Drills: the devices that call in them, the plan, what came of it, and the end. The view drill_alarms says which
-- alarms belong to one.

-- name: free
-- Devices of drills that have nothing open and take part in none now (see drill_alarms); those that have rested longest come first.
SELECT d.device_id, d.device, d.region FROM devices d
WHERE d.drill AND starts_with(d.region, %(region)s)
  AND NOT EXISTS (SELECT FROM alarms a WHERE a.device_id = d.device_id AND a.closed_at IS NULL)
  AND NOT EXISTS (SELECT FROM drill_calls c JOIN drills r USING (drill_id)
                  WHERE c.device_id = d.device_id AND r.heard_until + interval '1 minute' > %(at)s)
ORDER BY (SELECT max(c.drill_id) FROM drill_calls c WHERE c.device_id = d.device_id) NULLS FIRST, d.device_id
LIMIT %(limit)s

-- name: patterns
-- Real devices for new ones to look like, with the names of the places where they are, the largest first.
SELECT d.device, d.model, d.region,
       coalesce((SELECT string_agg(r.name, '' ORDER BY length(r.region)) FROM regions r
                 WHERE starts_with(d.region, r.region)), '') AS place
FROM devices d
WHERE NOT d.drill AND NOT d.self_registered AND d.device ~ '^[A-Za-z0-9_-]+$' AND starts_with(d.region, %(region)s)
ORDER BY md5(d.device || %(seed)s::text), d.device LIMIT %(limit)s

-- name: place
SELECT coalesce(string_agg(name, '' ORDER BY length(region)), '') FROM regions WHERE starts_with(%(region)s, region)

-- name: known
SELECT device FROM devices WHERE device = ANY(%(devices)s::text[])
UNION SELECT unnest(aliases) FROM devices WHERE aliases && %(devices)s::text[]

-- name: enter
-- A device of drills with a made-up person behind it, who bears a number that no file has.
WITH person AS (
    INSERT INTO people (person, name, birth_year, sex, phone, address, notes)
    VALUES (%(person)s, %(name)s, %(birth_year)s, %(sex)s, %(phone)s, %(address)s, %(notes)s)
    RETURNING person_id
), contact AS (
    INSERT INTO contacts (person_id, rank, name, relation, phone)
    SELECT p.person_id, c.rank, c.name, c.relation, c.phone
    FROM person p, jsonb_to_recordset(%(contacts)s) AS c(rank smallint, name text, relation text, phone text)
)
INSERT INTO devices (device, region, model, person_id, drill)
SELECT %(device)s, %(region)s, %(model)s, person_id, true FROM person
RETURNING device_id, device, region

-- name: begin
INSERT INTO drills (region, began_at, began_by, ends_at, heard_until, after_alarm_id)
SELECT %(region)s, %(began_at)s, %(began_by)s, %(ends_at)s, %(ends_at)s, coalesce(max(alarm_id), 0) FROM alarms
RETURNING drill_id

-- name: plan_call
INSERT INTO drill_calls (drill_id, device_id, kind, due_at)
VALUES (%(drill_id)s, %(device_id)s, %(kind)s, %(due_at)s)

-- name: send
-- Nothing if somebody has got the device meanwhile: then it must not call for a drill.
UPDATE drill_calls c SET sent_at = clock_timestamp()
FROM devices d
WHERE c.drill_id = %(drill_id)s AND c.device_id = %(device_id)s AND d.device_id = c.device_id AND d.drill
RETURNING c.sent_at

-- name: calls
SELECT d.device, c.kind, coalesce(p.name, '') AS person, c.due_at, c.sent_at, a.alarm_id,
       (extract(epoch FROM a.committed_at - c.sent_at) * 1000)::float8 AS raised_ms,
       a.handling, a.acknowledged_by, extract(epoch FROM a.acknowledged_at - a.raised_at)::float8 AS acknowledged_seconds
FROM drill_calls c
JOIN devices d USING (device_id)
LEFT JOIN people p USING (person_id)
LEFT JOIN LATERAL (
    SELECT a.* FROM drill_alarms o JOIN alarms a USING (alarm_id)
    WHERE o.drill_id = c.drill_id AND o.device_id = c.device_id AND a.kind = c.kind
    ORDER BY a.alarm_id LIMIT 1
) a ON true
WHERE c.drill_id = %(drill_id)s
ORDER BY c.due_at, d.device

-- name: end_at
-- Earlier than it was to end, never later. What is at the broker still belongs to it when it comes.
UPDATE drills SET ends_at = least(ends_at, %(at)s) WHERE drill_id = %(drill_id)s

-- name: former
-- Devices that are somebody's by now, and until when each was one of drills.
SELECT device_id, drill_until FROM devices WHERE drill_until IS NOT NULL

-- name: end_due
-- What is open of drills that are over closes, and what staff have closed of them is marked as well: the log has
-- what they said. Whatever somebody is at work on comes at the next look.
WITH over AS (
    SELECT a.alarm_id, a.closed_at IS NULL AS was_open, a.outcome
    FROM alarms a
    WHERE a.drill AND a.outcome IS DISTINCT FROM 'drill'
      AND EXISTS (SELECT FROM drill_alarms o WHERE o.alarm_id = a.alarm_id AND o.ends_at <= %(at)s)
    FOR UPDATE OF a SKIP LOCKED
), ended AS (
    UPDATE alarms a SET
        handling = 'closed',
        closed_at = coalesce(a.closed_at, %(at)s),
        closed_by = coalesce(a.closed_by, 'carebell'),
        outcome = 'drill',
        version = a.version + 1
    FROM over o WHERE a.alarm_id = o.alarm_id
    RETURNING a.alarm_id, o.was_open
), logged AS (
    INSERT INTO alarm_log (alarm_id, at, actor, verb, detail)
    SELECT alarm_id, %(at)s, 'carebell', CASE WHEN was_open THEN 'closed' ELSE 'marked' END, '{"outcome": "drill"}'
    FROM ended ORDER BY alarm_id
), told AS (
    INSERT INTO outbox (alarm_id, channel, message)
    SELECT alarm_id, 'downlink', 'closed' FROM ended WHERE was_open ORDER BY alarm_id
)
SELECT count(*) FROM ended
