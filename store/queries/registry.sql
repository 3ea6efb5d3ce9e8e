-- The registry: what is entered, imported, moved and shown. Imports stage a file in the temporary table `staged`
-- (stage_*), see in the temporary view `wanted` what it would change, and write that in one transaction.

-- name: enter_region
INSERT INTO regions (region, name, lat, lon) VALUES (%(region)s, %(name)s, %(lat)s, %(lon)s)
ON CONFLICT (region) DO UPDATE SET
    name = excluded.name, lat = coalesce(regions.lat, excluded.lat), lon = coalesce(regions.lon, excluded.lon)

-- name: enter_device
-- A device with the person behind it and the contacts to call, in one statement.
WITH person AS (
    INSERT INTO people (name, birth_year, sex, phone, address, notes)
    VALUES (%(name)s, %(birth_year)s, %(sex)s, %(phone)s, %(address)s, %(notes)s)
    RETURNING person_id
), contact AS (
    INSERT INTO contacts (person_id, rank, name, relation, phone)
    SELECT p.person_id, c.rank, c.name, c.relation, c.phone
    FROM person p, jsonb_to_recordset(%(contacts)s) AS c(rank smallint, name text, relation text, phone text)
)
INSERT INTO devices (device, region, model, heartbeat_seconds, person_id)
SELECT %(device)s, %(region)s, %(model)s, %(heartbeat_seconds)s, person_id FROM person

-- name: take_turn
-- One at a time imports or moves; who waits does not stand in the way of the one at work.
SELECT pg_try_advisory_lock(42022)

-- name: end_turn
SELECT pg_advisory_unlock(42022)

-- name: set_time
-- The trigger that keeps assignments reads it.
SELECT set_config('carebell.at', %(at)s, true)

-- name: tell_bridge
SELECT pg_notify('carebell_registry', now()::text)

-- name: waits_for
-- Whether anybody waits for rows that the session %(pid)s has written and not committed.
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE NOT granted AND locktype IN ('transactionid', 'tuple') AND %(pid)s = ANY (pg_blocking_pids(pid))
)

-- name: prepare_session
-- Sorts and joins of a million rows stay in memory. Should we be killed, nobody looks out any more: the server must
-- notice by itself and let go of what we hold; should we be stopped, when the running statement has ended.
SELECT set_config('work_mem', '64MB', false),
       set_config('client_connection_check_interval', '500ms', false),
       set_config('idle_in_transaction_session_timeout', '3s', false)

-- name: stage_region
CREATE TEMPORARY TABLE staged (line integer, key text, name text, lat text, lon text);
CREATE TEMPORARY VIEW wanted AS
SELECT w.*, (name, lat, lon) IS DISTINCT FROM (old_name, old_lat, old_lon) AS changes, false AS moves
FROM (
    SELECT s.key AS region, r.region IS NULL AS is_new, s.name, r.name AS old_name, r.lat AS old_lat, r.lon AS old_lon,
           CASE WHEN s.lat IS NULL THEN r.lat ELSE nullif(s.lat, '')::float8 END AS lat,
           CASE WHEN s.lon IS NULL THEN r.lon ELSE nullif(s.lon, '')::float8 END AS lon
    FROM staged s LEFT JOIN regions r ON r.region = s.key
) w

-- name: stage_device
CREATE TEMPORARY TABLE staged (
    line integer, key text, region text, model text, person text, heartbeat_seconds integer, gateway text, aliases text
);
CREATE TEMPORARY VIEW wanted AS
SELECT w.*, device_id IS NULL AS is_new,
       (region, model, person_id, heartbeat_seconds, gateway, aliases, false) IS DISTINCT FROM
           (old_region, old_model, old_person_id, old_heartbeat_seconds, old_gateway, old_aliases, self_registered) AS changes,
       old_person_id IS NOT NULL AND person_id IS DISTINCT FROM old_person_id AS moves
FROM (
    SELECT s.line, s.key AS device, d.device_id, s.region, coalesce(s.model, d.model, '') AS model,
           CASE WHEN s.person IS NULL THEN d.person_id ELSE p.person_id END AS person_id,
           nullif(coalesce(s.heartbeat_seconds, d.heartbeat_seconds), 0) AS heartbeat_seconds,
           coalesce(s.gateway, d.gateway, '') AS gateway, d.gateway AS old_gateway,
           coalesce(string_to_array(s.aliases, ';'), d.aliases, '{}') AS aliases, d.aliases AS old_aliases,
           d.region AS old_region, d.model AS old_model, d.person_id AS old_person_id,
           d.heartbeat_seconds AS old_heartbeat_seconds, d.self_registered
    FROM staged s LEFT JOIN devices d ON d.device = s.key LEFT JOIN people p ON p.person = s.person
) w

-- name: stage_person
CREATE TEMPORARY TABLE staged (
    line integer, key text, name text, sex text, birth_year smallint, phone text, address text, notes text,
    care_level text, contacts jsonb
);
CREATE TEMPORARY VIEW wanted AS
SELECT w.*, person_id IS NULL AS is_new, contacts <> old_contacts AS contacts_change, false AS moves,
       care_level <> old_care_level AS care_changes,
       (name, sex, birth_year, phone, address, notes, care_level) IS DISTINCT FROM
           (old_name, old_sex, old_birth_year, old_phone, old_address, old_notes, old_care_level) AS card_changes,
       (name, sex, birth_year, phone, address, notes, care_level, coalesce(contacts, old_contacts)) IS DISTINCT FROM
           (old_name, old_sex, old_birth_year, old_phone, old_address, old_notes, old_care_level, old_contacts) AS changes
FROM (
    SELECT s.key AS person, p.person_id, s.name, nullif(coalesce(s.sex, p.sex), '') AS sex,
           nullif(coalesce(s.birth_year, p.birth_year), 0::smallint) AS birth_year, coalesce(s.phone, p.phone, '') AS phone,
           coalesce(s.address, p.address, '') AS address, coalesce(s.notes, p.notes, '') AS notes,
           coalesce(s.care_level, p.care_level, '') AS care_level, p.care_level AS old_care_level, s.contacts,
           p.name AS old_name, p.sex AS old_sex, p.birth_year AS old_birth_year, p.phone AS old_phone,
           p.address AS old_address, p.notes AS old_notes,
           (SELECT coalesce(jsonb_agg(to_jsonb(c) - 'person_id' ORDER BY c.rank), '[]')
            FROM contacts c WHERE c.person_id = p.person_id) AS old_contacts
    FROM staged s LEFT JOIN people p ON p.person = s.key
) w

-- name: unstage
DROP VIEW IF EXISTS wanted;
DROP TABLE IF EXISTS staged, numbered

-- name: count_wanted
SELECT count(*) FILTER (WHERE is_new) AS new, count(*) FILTER (WHERE changes AND NOT is_new) AS changed,
       count(*) FILTER (WHERE moves) AS moved
FROM wanted

-- name: check_twins
SELECT s.line, s.key, t.line AS first_line, count(*) OVER () AS total
FROM staged s JOIN (SELECT key, min(line) AS line FROM staged GROUP BY key HAVING count(*) > 1) t USING (key)
WHERE s.line > t.line
ORDER BY s.line LIMIT %(limit)s

-- name: check_drills
-- A device of drills cannot be somebody's: a call of theirs would count apart and close by itself.
SELECT s.line, s.key, count(*) OVER () AS total
FROM staged s JOIN devices d ON d.device = s.key
WHERE d.drill
ORDER BY s.line LIMIT %(limit)s

-- name: check_people
-- File numbers that nobody bears; `like_it` differs by zeros at the beginning, which spreadsheets drop.
WITH unknown AS (
    SELECT s.line, s.person, count(*) OVER () AS total
    FROM staged s LEFT JOIN people p USING (person)
    WHERE s.person <> '' AND p.person IS NULL
    ORDER BY s.line LIMIT %(limit)s
)
SELECT u.line, u.person, min(p.person) AS like_it, u.total
FROM unknown u LEFT JOIN people p ON ltrim(p.person, '0') = u.person AND u.person ~ '^[1-9][0-9]*$'
GROUP BY u.line, u.person, u.total
ORDER BY u.line

-- name: check_aliases
-- Names that would stand for two devices, be it as a name or as another one: of the file, or of the registry as far as
-- the file does not change it. One that registered itself was the other device all the time.
WITH named AS (
    SELECT line, device, unnest(aliases) AS alias FROM wanted WHERE aliases <> '{}'
    UNION ALL
    SELECT line, device, device FROM wanted
), taken AS (
    SELECT n.line, n.alias, coalesce(other.device, d.device, e.device) AS device
    FROM named n
    LEFT JOIN named other ON other.alias = n.alias AND other.device <> n.device AND other.line < n.line
    LEFT JOIN devices d ON d.aliases <> '{}' AND d.aliases @> ARRAY[n.alias] AND d.device <> n.device
        AND NOT EXISTS (SELECT FROM wanted w WHERE w.device = d.device)
    LEFT JOIN devices e ON e.device = n.alias AND e.device <> n.device AND NOT e.self_registered
    WHERE coalesce(other.device, d.device, e.device) IS NOT NULL
)
SELECT line, alias, min(device) AS device, count(*) OVER () AS total
FROM taken GROUP BY line, alias
ORDER BY line LIMIT %(limit)s

-- name: check_moves
-- Open calls about somebody else than who is to have the device; asked before and after the writing.
SELECT w.line, w.device, min(a.alarm_id) AS alarm_id, count(*) OVER () AS total
FROM wanted w JOIN alarms a ON a.device_id = w.device_id AND a.closed_at IS NULL AND a.class IN ('life', 'health')
WHERE a.person_id <> coalesce(w.person_id, 0)
GROUP BY w.line, w.device
ORDER BY w.line LIMIT %(limit)s

-- name: check_regions
-- Codes in use that have no name: no error.
SELECT s.region, min(s.line) AS line, count(*) AS devices, count(*) OVER () AS total
FROM staged s LEFT JOIN regions r USING (region)
WHERE coalesce(r.name, '') = ''
GROUP BY s.region
ORDER BY s.region LIMIT %(limit)s

-- name: write_region
INSERT INTO regions (region, name, lat, lon) SELECT region, name, lat, lon FROM wanted WHERE is_new OR changes
ON CONFLICT (region) DO UPDATE SET name = excluded.name, lat = excluded.lat, lon = excluded.lon

-- name: number_new_devices
-- Numbers are taken once, however often the writing begins anew: the engine has a place for every number up to the highest.
CREATE TEMPORARY TABLE numbered AS
SELECT s.key AS device, nextval(pg_get_serial_sequence('devices', 'device_id'))::integer AS device_id
FROM staged s LEFT JOIN devices d ON d.device = s.key
WHERE d.device_id IS NULL;
ANALYZE numbered

-- name: write_new_device
-- In the index's order, which is the fastest. A device that registered itself since the check is taken over.
INSERT INTO devices (device_id, device, region, model, person_id, heartbeat_seconds, gateway, aliases)
OVERRIDING SYSTEM VALUE
SELECT n.device_id, device, region, model, person_id, heartbeat_seconds, gateway, aliases
FROM wanted w JOIN numbered n USING (device)
WHERE is_new ORDER BY device
ON CONFLICT (device) DO UPDATE SET
    region = excluded.region, model = excluded.model, person_id = excluded.person_id,
    heartbeat_seconds = excluded.heartbeat_seconds, gateway = excluded.gateway, aliases = excluded.aliases,
    self_registered = false, changed_at = now()

-- name: write_device
UPDATE devices d SET
    region = w.region, model = w.model, person_id = w.person_id, heartbeat_seconds = w.heartbeat_seconds,
    gateway = w.gateway, aliases = w.aliases, self_registered = false, changed_at = now()
FROM wanted w
WHERE d.device_id = w.device_id AND w.changes

-- name: write_new_person
INSERT INTO people (person, name, sex, birth_year, phone, address, notes, care_level)
SELECT person, name, sex, birth_year, phone, address, notes, care_level FROM wanted WHERE is_new

-- name: write_person
UPDATE people p SET
    name = w.name, sex = w.sex, birth_year = w.birth_year, phone = w.phone, address = w.address, notes = w.notes,
    care_level = w.care_level
FROM wanted w
WHERE p.person_id = w.person_id AND w.card_changes

-- name: write_care
-- Before the cards are written: rules may be meant for some care levels, so the bridge reads these devices again.
UPDATE devices d SET changed_at = now() FROM wanted w WHERE d.person_id = w.person_id AND w.care_changes

-- name: remove_contacts
DELETE FROM contacts c USING wanted w WHERE c.person_id = w.person_id AND w.contacts_change

-- name: write_contacts
INSERT INTO contacts (person_id, rank, name, relation, phone)
SELECT w.person_id, c.rank, c.name, c.relation, c.phone
FROM wanted w, jsonb_to_recordset(w.contacts) AS c(rank smallint, name text, relation text, phone text)
WHERE w.contacts_change

-- name: move_device
-- Whatever it was, it is a device like any other from now on, which is what set_time has set.
UPDATE devices SET
    person_id = %(person_id)s, region = coalesce(%(region)s, region), self_registered = false, drill = false,
    drill_until = CASE WHEN drill THEN current_setting('carebell.at')::timestamptz ELSE drill_until END,
    changed_at = now()
WHERE device_id = %(device_id)s

-- name: set_person
-- Thresholds without a number are taken out. The bridge reads the person's devices again.
WITH person AS (
    UPDATE people SET
        care_level = coalesce(%(care_level)s, care_level),
        thresholds = jsonb_strip_nulls(thresholds || %(thresholds)s)
    WHERE person = %(person)s
    RETURNING person_id
)
UPDATE devices d SET changed_at = now() FROM person p WHERE d.person_id = p.person_id

-- name: held_by_alarm
-- An open call about somebody else than who has the device now.
SELECT min(a.alarm_id)
FROM alarms a JOIN devices d USING (device_id)
WHERE d.device_id = %(device_id)s AND a.closed_at IS NULL AND a.class IN ('life', 'health')
  AND a.person_id <> coalesce(d.person_id, 0)

-- name: id_of_person
SELECT person_id FROM people WHERE person = %(person)s

-- name: devices
SELECT d.device, d.region, coalesce(r.name, '') AS region_name, d.model, p.person, coalesce(p.name, '') AS name,
       d.heartbeat_seconds, d.gateway, d.aliases, d.clock_hours, d.self_registered, d.drill, d.registered_at, d.changed_at
FROM devices d LEFT JOIN people p USING (person_id) LEFT JOIN regions r USING (region)
WHERE (%(device)s::text IS NULL OR d.device = %(device)s)
  AND (%(region)s::text IS NULL OR starts_with(d.region, %(region)s))
  AND (%(person)s::text IS NULL OR p.person = %(person)s)
ORDER BY d.device LIMIT %(limit)s

-- name: people
SELECT p.person, p.name, p.sex, p.birth_year, p.phone, p.address, p.notes, p.care_level, p.thresholds,
       array(SELECT d.device FROM devices d WHERE d.person_id = p.person_id ORDER BY d.device) AS devices
FROM people p
WHERE (%(person)s::text IS NULL OR p.person = %(person)s)
  AND (%(name)s::text IS NULL OR strpos(p.name, %(name)s) > 0)
ORDER BY p.person LIMIT %(limit)s

-- name: contacts_of_person
SELECT c.rank, c.name, c.relation, c.phone FROM contacts c JOIN people p USING (person_id)
WHERE p.person = %(person)s ORDER BY c.rank

-- name: spans_of_device
-- Who had it, the present one first.
SELECT d.device, p.person, p.name, s.since, s.until
FROM devices d JOIN assignments s USING (device_id) JOIN people p ON p.person_id = s.person_id
WHERE d.device = %(device)s ORDER BY s.since DESC

-- name: spans_of_person
SELECT d.device, p.person, p.name, s.since, s.until
FROM people p JOIN assignments s USING (person_id) JOIN devices d USING (device_id)
WHERE p.person = %(person)s ORDER BY s.since DESC, d.device

-- name: alarms_of_device
-- The open ones.
SELECT a.alarm_id, d.device, a.kind, a.severity, a.handling, a.raised_at, p.person
FROM devices d JOIN alarms a USING (device_id) LEFT JOIN people p ON p.person_id = a.person_id
WHERE d.device = %(device)s AND a.closed_at IS NULL
ORDER BY a.alarm_id DESC

-- name: alarms_of_person
-- Of all times, newest first.
SELECT a.alarm_id, d.device, a.kind, a.severity, a.handling, a.raised_at, p.person
FROM people p JOIN alarms a USING (person_id) JOIN devices d USING (device_id)
WHERE p.person = %(person)s
ORDER BY a.alarm_id DESC LIMIT 20

-- name: vitals_of_person
SELECT d.device, v.ts, v.hr, v.spo2, v.temp, v.sbp, v.dbp, v.glucose
FROM people p JOIN person_vitals v USING (person_id) JOIN devices d USING (device_id)
WHERE p.person = %(person)s
ORDER BY v.ts DESC LIMIT 10

-- name: last_heard
SELECT max(received_at) FROM (
    (SELECT received_at FROM heartbeats WHERE device_id = %(device_id)s ORDER BY ts DESC LIMIT 1)
    UNION ALL (SELECT received_at FROM vitals WHERE device_id = %(device_id)s ORDER BY ts DESC LIMIT 1)
    UNION ALL (SELECT received_at FROM activity WHERE device_id = %(device_id)s ORDER BY ts DESC LIMIT 1)
    UNION ALL (SELECT received_at FROM events WHERE device_id = %(device_id)s ORDER BY ts DESC LIMIT 1)
) heard

-- name: clock_skew
-- Seconds by which a clock is slow, transport included: of the newest rows whose time is the device's own, late ones left
-- out. A known mistake of zone is taken off.
SELECT extract(epoch FROM percentile_cont(0.5) WITHIN GROUP (ORDER BY heard.received_at - heard.ts))::float8
FROM (
    (SELECT received_at, ts, time_quality FROM heartbeats WHERE device_id = %(device_id)s ORDER BY ts DESC LIMIT 100)
    UNION ALL
    (SELECT received_at, ts, time_quality FROM vitals WHERE device_id = %(device_id)s ORDER BY ts DESC LIMIT 100)
    UNION ALL
    (SELECT received_at, ts, time_quality FROM activity WHERE device_id = %(device_id)s ORDER BY ts DESC LIMIT 100)
) heard
WHERE heard.time_quality IN (0, 2)

-- name: id_of_device
SELECT device_id FROM devices WHERE device = %(device)s

-- name: regions
-- What has a name, what devices use, and the parents of these; those of drills do not count.
WITH used AS (
    SELECT region, count(*) AS devices FROM devices WHERE region IS NOT NULL AND NOT drill GROUP BY region
), codes AS (
    SELECT region FROM regions
    UNION SELECT left(region, n) FROM used, unnest(ARRAY[6, 9, 12]) n WHERE n <= length(region)
)
SELECT c.region, coalesce(r.name, '') AS name, nullif(left(c.region, length(c.region) - 3), left(c.region, 3)) AS parent,
       coalesce(o.name, '') AS parent_name, r.lat, r.lon, coalesce(u.devices, 0) AS devices
FROM codes c LEFT JOIN regions r ON r.region = c.region LEFT JOIN used u ON u.region = c.region
LEFT JOIN regions o ON o.region = left(c.region, length(c.region) - 3) AND length(c.region) > 6
ORDER BY c.region LIMIT %(limit)s
