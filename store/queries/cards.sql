-- The card of an alarm and the files behind it: who it is about, whom to call, what the device said. Reading only.
-- Tables of the history are asked by device and a range of ts, which their index and their chunks are made for.

-- name: log_of_alarm
-- All that people did and what carebell did last, in order: a button that sticks must not bury the people.
SELECT l.at, l.actor, l.verb, l.detail, l.rule, l.rule_set_id, a.kind
FROM (
    SELECT * FROM alarm_log WHERE alarm_id = %(alarm_id)s
    ORDER BY actor = %(engine)s, log_id DESC LIMIT %(limit)s
) l JOIN alarms a USING (alarm_id)
ORDER BY l.log_id

-- name: person
-- What the caller must know; the address is asked for apart.
SELECT person_id, person, name, sex, birth_year, phone, care_level, notes FROM people WHERE person_id = %(person_id)s

-- name: contacts
-- In the order in which to call.
SELECT name, relation, phone FROM contacts WHERE person_id = %(person_id)s ORDER BY rank

-- name: address
SELECT a.person_id, coalesce(p.address, '') AS address FROM alarms a LEFT JOIN people p USING (person_id) WHERE a.alarm_id = %(alarm_id)s

-- name: others
-- What else is open about the person, as the list has it.
SELECT * FROM duty_alarms
WHERE person_id = %(person_id)s AND closed_at IS NULL AND alarm_id <> %(alarm_id)s
ORDER BY class <> 'life', array_position(ARRAY['critical', 'high', 'medium', 'low'], severity), raised_at, alarm_id
LIMIT %(limit)s

-- name: device_on_card
-- Heard is what it said itself: neither what the broker retained (7) nor its last will (17, offline).
SELECT d.device, d.model, coalesce(d.region, '') AS region, coalesce(r.name, '') AS region_name,
       greatest((SELECT h.received_at FROM heartbeats h WHERE h.device_id = d.device_id ORDER BY h.ts DESC LIMIT 1),
                (SELECT v.received_at FROM vitals v WHERE v.device_id = d.device_id ORDER BY v.ts DESC LIMIT 1),
                (SELECT a.received_at FROM activity a WHERE a.device_id = d.device_id ORDER BY a.ts DESC LIMIT 1),
                (SELECT e.received_at FROM events e
                 WHERE e.device_id = d.device_id AND e.event <> 17 AND e.time_quality <> 7 ORDER BY e.ts DESC LIMIT 1)
       ) AS heard_at,
       (SELECT h.battery FROM heartbeats h
        WHERE h.device_id = d.device_id AND h.battery IS NOT NULL ORDER BY h.ts DESC LIMIT 1) AS battery
FROM devices d LEFT JOIN regions r USING (region)
WHERE d.device = %(device)s

-- name: subject_of_alarm
-- Whose vitals belong to it: those of the person, or of a device that was nobody's.
SELECT person_id, CASE WHEN person_id IS NULL THEN device_id END AS device_id, closed_at
FROM alarms WHERE alarm_id = %(alarm_id)s

-- name: vitals
-- At most `most` rows, each as it was measured. More than that: time is cut into equal parts, and of each part stay
-- the rows with the lowest and the highest of each value, so that no spike is lost, and the newest of all. The parts
-- are as many as the values that occur leave room for. Without a person only what the device measured as nobody's.
-- Left out are rows without a value and, counted, those of which nobody knows when they were measured: of a clock
-- ahead (3), not set (4), unreadable (6) or retained (7), which all stand at the time of their receipt.
WITH found AS MATERIALIZED (
    SELECT ts, time_quality, hr, spo2, temp, sbp, dbp FROM person_vitals
    WHERE person_id = %(person_id)s::integer AND ts > %(since)s AND ts <= %(until)s
    UNION ALL
    SELECT v.ts, v.time_quality, v.hr, v.spo2, v.temp, v.sbp, v.dbp FROM vitals v
    WHERE v.device_id = %(device_id)s::integer AND v.ts > %(since)s AND v.ts <= %(until)s
      AND NOT EXISTS (SELECT FROM assignments s WHERE s.device_id = v.device_id
                      AND v.ts >= s.since AND (s.until IS NULL OR v.ts < s.until))
), measured AS MATERIALIZED (
    SELECT row_number() OVER (ORDER BY ts) AS n, ts, hr, spo2, temp, sbp, dbp FROM found
    WHERE time_quality NOT IN (3, 4, 6, 7) AND num_nonnulls(hr, spo2, temp, sbp, dbp) > 0
), room AS (
    SELECT count(*) AS total,
           (%(most)s - 1) / (2 * greatest(1, num_nonnulls(min(hr), min(spo2), min(temp), min(sbp), min(dbp)))) AS parts
    FROM measured
), parted AS MATERIALIZED (
    SELECT m.*, least(r.parts - 1, floor(extract(epoch FROM m.ts - %(since)s)::float8 * r.parts
                                         / extract(epoch FROM %(until)s - %(since)s)::float8)) AS part
    FROM measured m, room r WHERE r.total > %(most)s
), bounds AS (
    SELECT part, min(hr) AS hr_low, max(hr) AS hr_high, min(spo2) AS spo2_low, max(spo2) AS spo2_high,
           min(temp) AS temp_low, max(temp) AS temp_high, min(sbp) AS sbp_low, max(sbp) AS sbp_high,
           min(dbp) AS dbp_low, max(dbp) AS dbp_high
    FROM parted GROUP BY part
), kept AS (
    SELECT unnest(ARRAY[
        min(n) FILTER (WHERE hr = hr_low), min(n) FILTER (WHERE hr = hr_high),
        min(n) FILTER (WHERE spo2 = spo2_low), min(n) FILTER (WHERE spo2 = spo2_high),
        min(n) FILTER (WHERE temp = temp_low), min(n) FILTER (WHERE temp = temp_high),
        min(n) FILTER (WHERE sbp = sbp_low), min(n) FILTER (WHERE sbp = sbp_high),
        min(n) FILTER (WHERE dbp = dbp_low), min(n) FILTER (WHERE dbp = dbp_high)]) AS n
    FROM parted JOIN bounds USING (part) GROUP BY part
    UNION
    SELECT max(n) FROM measured
)
SELECT (SELECT total FROM room) AS measured,
       (SELECT count(*) FROM found WHERE time_quality IN (3, 4, 6, 7)) AS left_out,
       (SELECT coalesce(json_agg(json_build_object(
                   'ts', ts, 'hr', hr, 'spo2', spo2, 'temp', temp, 'sbp', sbp, 'dbp', dbp) ORDER BY n), '[]')
        FROM measured
        WHERE (SELECT total FROM room) <= %(most)s OR n IN (SELECT n FROM kept)) AS points

-- name: find_people
-- By the beginning of name, number or telephone, without the signs between its digits (0019 has the indexes).
SELECT p.person_id, p.person, p.name, p.sex, p.birth_year, p.phone, p.care_level,
       (SELECT count(*) FROM devices d WHERE d.person_id = p.person_id) AS devices,
       (SELECT count(*) FROM alarms a WHERE a.person_id = p.person_id AND a.closed_at IS NULL) AS open
FROM people p
WHERE p.name LIKE %(prefix)s OR p.person LIKE %(prefix)s
   OR (p.phone <> '' AND regexp_replace(p.phone, '^\+86|[^0-9]', '', 'g') LIKE %(digits)s)
ORDER BY p.name, p.person_id
LIMIT %(limit)s

-- name: find_devices
-- By the beginning of the name or by another name as a whole; not what stands for a topic, an area or the line itself.
SELECT d.device, d.aliases, d.model, coalesce(d.region, '') AS region, coalesce(r.name, '') AS region_name,
       d.person_id, coalesce(p.name, '') AS person,
       (SELECT count(*) FROM alarms a WHERE a.device_id = d.device_id AND a.closed_at IS NULL) AS open
FROM devices d
LEFT JOIN regions r USING (region)
LEFT JOIN people p ON p.person_id = d.person_id
WHERE (d.device LIKE %(prefix)s OR (d.aliases <> '{}' AND d.aliases @> ARRAY[%(name)s::text])) AND d.device NOT LIKE '?%%'
ORDER BY d.device
LIMIT %(limit)s

-- name: devices_of_person
SELECT d.device, d.aliases, d.model, coalesce(d.region, '') AS region, coalesce(r.name, '') AS region_name,
       d.person_id, p.name AS person,
       (SELECT count(*) FROM alarms a WHERE a.device_id = d.device_id AND a.closed_at IS NULL) AS open
FROM devices d
JOIN people p USING (person_id)
LEFT JOIN regions r USING (region)
WHERE d.person_id = %(person_id)s
ORDER BY d.device
LIMIT %(limit)s

-- name: alarms_of_person
-- What is open, then the newest.
SELECT * FROM duty_alarms WHERE person_id = %(person_id)s
ORDER BY closed_at IS NOT NULL, alarm_id DESC
LIMIT %(limit)s

-- name: device
SELECT d.device_id, d.device, d.aliases, d.model, coalesce(d.region, '') AS region, coalesce(r.name, '') AS region_name,
       d.person_id, coalesce(p.name, '') AS person, d.gateway, d.heartbeat_seconds, d.self_registered, d.registered_at
FROM devices d
LEFT JOIN regions r USING (region)
LEFT JOIN people p ON p.person_id = d.person_id
WHERE d.device = %(device)s

-- name: open_of_device
SELECT * FROM duty_alarms WHERE device_id = %(device_id)s AND closed_at IS NULL ORDER BY alarm_id DESC LIMIT %(limit)s

-- name: alarms_of_device
-- Raised in the time, newest first; numbers rise with time but for a clock that was set back.
SELECT * FROM duty_alarms
WHERE device_id = %(device_id)s AND raised_at > %(since)s AND raised_at <= %(until)s
ORDER BY alarm_id DESC LIMIT %(limit)s

-- name: events_of_device
-- Newest first; where somebody was is not in it.
SELECT ts, received_at, event, time_quality FROM events
WHERE device_id = %(device_id)s AND ts > %(since)s AND ts <= %(until)s
ORDER BY ts DESC LIMIT %(limit)s

-- name: heartbeats_of_device
-- The newest of each of `limit` equal parts of the time.
SELECT DISTINCT ON (part) ts, battery, rssi, mains
FROM (
    SELECT *, least(%(limit)s - 1, floor(extract(epoch FROM ts - %(since)s)::float8 * %(limit)s
                                         / extract(epoch FROM %(until)s - %(since)s)::float8)) AS part
    FROM heartbeats
    WHERE device_id = %(device_id)s AND ts > %(since)s AND ts <= %(until)s
) parted
ORDER BY part, ts DESC
