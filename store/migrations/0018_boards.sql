-- What the boards of regions, people and answering read, beside what 0007 and later ones gave them. No view shows a
-- telephone number, an illness or an identity number: a board hangs where everybody passes.

ALTER TABLE regions
    ADD lat double precision CHECK (lat BETWEEN -90 AND 90),
    ADD lon double precision CHECK (lon BETWEEN -180 AND 180),
    ADD CHECK ((lat IS NULL) = (lon IS NULL));
COMMENT ON COLUMN regions.lat IS 'Degrees north, WGS 84: where the map of the boards shows the region; null: nowhere.';
COMMENT ON COLUMN regions.lon IS 'Degrees east, WGS 84.';

-- What an outage explains is counted by its area; few alarms are open, however many are closed.
CREATE INDEX alarms_suppressed ON alarms (suppressed) WHERE closed_at IS NULL AND suppressed IS NOT NULL;

-- Where the number in files may be an identity or a telephone number, however it is written (eleven digits and more), the boards
-- know the person by another one. An index on what they ask.
CREATE INDEX people_board ON people
    ((CASE WHEN regexp_replace(normalize(person, NFKC), '[^0-9]', '', 'g') ~ '^[0-9]{11}' THEN '#' || person_id ELSE person END) text_pattern_ops);
CREATE INDEX people_name ON people (name text_pattern_ops);

CREATE OR REPLACE VIEW board_alarms AS
SELECT a.alarm_id, d.device, coalesce(d.region, '') AS region,
       coalesce(nullif(r.name, ''), d.region, '') AS region_name, d.model, a.kind, a.class, a.severity, a.quality,
       a.condition, a.handling, a.count, a.raised_at, a.last_at, a.cleared_at, a.acknowledged_at,
       a.acknowledged_by, a.dispatched_at, a.dispatched_to, a.closed_at, a.closed_by, a.outcome, a.version,
       a.detail, a.committed_at,
       (SELECT count(*) FROM alarms b
        WHERE b.device_id = a.device_id AND b.kind = a.kind AND b.alarm_id <= a.alarm_id) AS occurrence,
       coalesce(p.name, '') AS person, coalesce(p.address, '') AS address,
       a.suppressed, a.drill, a.person_id, a.arrived_at, a.assigned_to, a.parent_id, a.reopened
FROM alarms a
LEFT JOIN devices d USING (device_id)
LEFT JOIN regions r ON r.region = d.region
LEFT JOIN people p ON p.person_id = a.person_id;

CREATE OR REPLACE VIEW board_open_alarms AS
SELECT a.alarm_id, d.device, coalesce(d.region, '') AS region,
       coalesce(nullif(r.name, ''), d.region, '') AS region_name, d.model, a.kind, a.class, a.severity, a.quality,
       a.condition, a.handling, a.count, a.raised_at, a.last_at, a.cleared_at, a.acknowledged_at,
       a.acknowledged_by, a.dispatched_at, a.dispatched_to, a.version, a.detail,
       coalesce(p.name, '') AS person, coalesce(p.address, '') AS address,
       (SELECT string_agg(c.name || coalesce('（' || nullif(c.relation, '') || '）', ''), ' → ' ORDER BY c.rank)
        FROM contacts c WHERE c.person_id = a.person_id) AS contacts,
       (SELECT h.ts FROM heartbeats h WHERE h.device_id = a.device_id ORDER BY h.ts DESC LIMIT 1) AS heartbeat_at,
       (SELECT h.battery FROM heartbeats h WHERE h.device_id = a.device_id ORDER BY h.ts DESC LIMIT 1) AS battery,
       a.assigned_to, a.arrived_at
FROM alarms a
LEFT JOIN devices d USING (device_id)
LEFT JOIN regions r ON r.region = d.region
LEFT JOIN people p ON p.person_id = a.person_id
WHERE a.closed_at IS NULL AND a.suppressed IS NULL AND a.shelved_until IS NULL;
COMMENT ON VIEW board_open_alarms IS 'What stands before staff: what an outage explains or somebody shelved does not.';

-- The one place where the boards say which alarms count, as docs/figures.md does: neither those of drills, nor those
-- merged into another, nor those that an outage explains. Seconds from raised_at, on the clock of the installation.
CREATE VIEW board_judged_alarms AS
SELECT a.alarm_id, d.device, d.model, coalesce(d.region, '') AS region, a.kind, a.class, a.handling, a.count, a.raised_at,
       a.acknowledged_at, a.acknowledged_by, a.closed_at, a.outcome,
       CASE WHEN a.acknowledged_at > a.raised_at THEN extract(epoch FROM a.acknowledged_at - a.raised_at)::float8
            WHEN a.acknowledged_at IS NOT NULL THEN 0 END AS answer_seconds,
       a.acknowledged_at IS NOT NULL OR a.outcome IS DISTINCT FROM 'cleared' AS waited,
       a.dispatched_at IS NOT NULL AS dispatched,
       extract(epoch FROM a.arrived_at - a.raised_at)::float8 AS arrival_seconds,
       a.outcome IN ('accidental', 'test', 'equipment_fault') AS needless
FROM alarms a
LEFT JOIN devices d USING (device_id)
WHERE NOT a.drill AND a.suppressed IS NULL AND a.outcome IS DISTINCT FROM 'merged';
COMMENT ON COLUMN board_judged_alarms.waited IS 'For staff: it did not end by itself before anybody acknowledged it.';
COMMENT ON COLUMN board_judged_alarms.needless IS 'Nobody was in need: accidental, a test, a fault of the device; null while it is open.';

CREATE VIEW board_shelved_alarms AS
SELECT a.alarm_id, d.device, coalesce(d.region, '') AS region, a.kind, a.class, a.raised_at, a.shelved_until
FROM alarms a
LEFT JOIN devices d USING (device_id)
WHERE a.closed_at IS NULL AND a.shelved_until IS NOT NULL;

CREATE VIEW board_outages AS
SELECT a.alarm_id, substr(d.device, 7) AS area, r.name AS region_name, a.severity, a.raised_at, a.handling,
       a.acknowledged_by, a.dispatched_to,
       (SELECT count(*) FROM alarms s WHERE s.closed_at IS NULL AND s.suppressed = substr(d.device, 7)) AS suppressed
FROM alarms a
JOIN devices d USING (device_id)
LEFT JOIN regions r ON r.region = substr(d.device, 7)
WHERE a.closed_at IS NULL AND a.kind = 'area_outage' AND starts_with(d.device, '?area:');
COMMENT ON COLUMN board_outages.area IS '"broker", a region code, or "gateway:<name>".';
COMMENT ON COLUMN board_outages.suppressed IS 'Open alarms that it explains.';

-- Where a call for help came from, where the device said so: about a hundred metres, the door stands on the card.
CREATE VIEW board_calls AS
SELECT a.alarm_id, d.device, a.kind, a.raised_at, a.handling,
       round((e.detail ->> 'lat')::numeric, 3)::float8 AS lat, round((e.detail ->> 'lon')::numeric, 3)::float8 AS lon
FROM alarms a
JOIN devices d USING (device_id)
JOIN LATERAL (
    SELECT v.detail FROM events v
    WHERE v.device_id = a.device_id AND v.ts > a.last_at - interval '1 hour'
      AND jsonb_typeof(v.detail -> 'lat') = 'number' AND jsonb_typeof(v.detail -> 'lon') = 'number'
    ORDER BY v.ts DESC LIMIT 1
) AS e ON true
WHERE a.closed_at IS NULL AND a.class = 'life';

CREATE OR REPLACE VIEW board_regions AS
SELECT region, name, lat, lon FROM regions;

CREATE OR REPLACE VIEW board_assignments AS
SELECT d.device, a.since, a.until, coalesce(p.name, '') AS person, coalesce(p.address, '') AS address, a.person_id
FROM assignments a
JOIN devices d USING (device_id)
LEFT JOIN people p ON p.person_id = a.person_id;

CREATE VIEW board_people AS
SELECT p.person_id,
       CASE WHEN regexp_replace(normalize(person, NFKC), '[^0-9]', '', 'g') ~ '^[0-9]{11}' THEN '#' || person_id ELSE person END AS number,
       p.name, p.birth_year, p.sex, p.address, p.care_level,
       (SELECT string_agg(c.name || coalesce('（' || nullif(c.relation, '') || '）', ''), ' → ' ORDER BY c.rank)
        FROM contacts c WHERE c.person_id = p.person_id) AS contacts,
       (SELECT count(*) FROM alarms a
        WHERE a.person_id = p.person_id AND a.closed_at IS NULL AND a.suppressed IS NULL) AS open_alarms
FROM people p;
COMMENT ON COLUMN board_people.number IS 'As files have it, unless it has eleven digits or more, as identity and telephone numbers have: then # and a number of our own.';

-- Vitals of a person, by whatever device measured them while it was theirs: as board_vitals, so ask by `hourly`.
CREATE VIEW board_person_vitals AS
SELECT s.person_id, v.ts, false AS hourly,
       num_nonnulls(hr) AS hr_n, hr AS hr_min, hr::float8 AS hr_sum, hr AS hr_max,
       num_nonnulls(spo2) AS spo2_n, spo2 AS spo2_min, spo2::float8 AS spo2_sum,
       num_nonnulls(temp) AS temp_n, temp::float8 AS temp_sum, temp AS temp_max,
       num_nonnulls(sbp) AS sbp_n, sbp::float8 AS sbp_sum, num_nonnulls(dbp) AS dbp_n, dbp::float8 AS dbp_sum,
       num_nonnulls(glucose) AS glucose_n, glucose::float8 AS glucose_sum,
       num_nonnulls(worn) AS worn_n, worn::integer AS worn_true
FROM assignments s
JOIN vitals v ON v.device_id = s.device_id AND v.ts >= s.since AND (s.until IS NULL OR v.ts < s.until)
UNION ALL
SELECT s.person_id, v.hour, true, hr_n, hr_min, hr_sum, hr_max, spo2_n, spo2_min, spo2_sum, temp_n, temp_sum, temp_max,
       sbp_n, sbp_sum, dbp_n, dbp_sum, glucose_n, glucose_sum, worn_n, worn_true
FROM assignments s
JOIN vitals_hourly v ON v.device_id = s.device_id
                     AND v.hour >= s.since AND (s.until IS NULL OR v.hour + interval '1 hour' <= s.until)
UNION ALL
SELECT s.person_id, v.ts, true, num_nonnulls(hr), hr, hr, hr, num_nonnulls(spo2), spo2, spo2,
       num_nonnulls(temp), temp, temp, num_nonnulls(sbp), sbp, num_nonnulls(dbp), dbp, num_nonnulls(glucose), glucose,
       num_nonnulls(worn), worn::integer
FROM assignments s
JOIN vitals v ON v.device_id = s.device_id AND v.ts >= s.since AND (s.until IS NULL OR v.ts < s.until)
WHERE v.batch > (SELECT batch FROM rolled_up)
  AND v.ts > (SELECT coalesce(until, '-infinity') - interval '1 day' FROM rolled_up);
COMMENT ON VIEW board_person_vitals IS 'The hour in which a device passes on is nobody''s, once it is rolled up.';

-- Motion of a person, each row as it came and again as part of its day in Shanghai, which is
-- 8 hours ahead all the year: ask for one of the two by `daily`. The day on which a device passes on is nobody's.
CREATE VIEW board_person_activity AS
SELECT s.person_id, v.ts, false AS daily, num_nonnulls(motion) AS motion_n, motion::integer AS motion_true
FROM assignments s
JOIN activity v ON v.device_id = s.device_id AND v.ts >= s.since AND (s.until IS NULL OR v.ts < s.until)
UNION ALL
SELECT s.person_id, v.day::timestamp AT TIME ZONE interval '8 hours', true, motion_n, motion_true
FROM assignments s
JOIN activity_daily v ON v.device_id = s.device_id
                      AND v.day > (s.since AT TIME ZONE interval '8 hours')::date
                      AND (s.until IS NULL OR v.day < (s.until AT TIME ZONE interval '8 hours')::date)
UNION ALL
SELECT s.person_id, v.ts, true, num_nonnulls(motion), motion::integer
FROM assignments s
JOIN activity v ON v.device_id = s.device_id AND v.ts >= s.since AND (s.until IS NULL OR v.ts < s.until)
WHERE v.batch > (SELECT batch FROM rolled_up)
  AND v.ts > (SELECT coalesce(until, '-infinity') - interval '1 day' FROM rolled_up);

-- What could not be told to people: neither to whom nor of which alarm.
CREATE INDEX notices_failed ON notices (ended_at) WHERE state = 'failed';
CREATE VIEW board_notices AS
SELECT state, attempts, created_at, ended_at FROM notices;

CREATE VIEW board_line AS
SELECT now AS at FROM ingest_ledger ORDER BY batch DESC LIMIT 1;
COMMENT ON COLUMN board_line.at IS 'The clock of the line at the newest batch that it stored; its own messages bring one every few seconds.';

-- Where the role is missing, 0007 has said so, and `carebell doctor` says which views it may not read.
DO $$
DECLARE
    board name;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'carebell_board') THEN
        FOR board IN SELECT viewname FROM pg_views WHERE schemaname = current_schema() AND starts_with(viewname, 'board_') LOOP
            EXECUTE format('GRANT SELECT ON %I TO carebell_board', board);
        END LOOP;
    END IF;
END $$;
