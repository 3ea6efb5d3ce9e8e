-- What the boards read: views named board_* and the role carebell_board, which may read these and nothing else.
-- No view shows a telephone number or an illness: a board hangs where everybody passes.
-- What costs is a subquery of the select list, or an outer join to a key even where there is always a match: both
-- are worked out only if a board asks for their columns.

DROP VIEW IF EXISTS board_open_alarms, board_alarms;

CREATE INDEX alarms_raised ON alarms (raised_at) INCLUDE (class, kind);

CREATE VIEW board_alarms AS
SELECT a.alarm_id, d.device, coalesce(d.region, '') AS region,
       coalesce(nullif(r.name, ''), d.region, '') AS region_name, d.model, a.kind, a.class, a.severity, a.quality,
       a.condition, a.handling, a.count, a.raised_at, a.last_at, a.cleared_at, a.acknowledged_at,
       a.acknowledged_by, a.dispatched_at, a.dispatched_to, a.closed_at, a.closed_by, a.outcome, a.version,
       a.detail, a.committed_at,
       (SELECT count(*) FROM alarms b
        WHERE b.device_id = a.device_id AND b.kind = a.kind AND b.alarm_id <= a.alarm_id) AS occurrence,
       coalesce(p.name, '') AS person, coalesce(p.address, '') AS address
FROM alarms a
LEFT JOIN devices d USING (device_id)
LEFT JOIN regions r ON r.region = d.region
LEFT JOIN people p ON p.person_id = a.person_id;

CREATE VIEW board_open_alarms AS
SELECT a.alarm_id, d.device, coalesce(d.region, '') AS region,
       coalesce(nullif(r.name, ''), d.region, '') AS region_name, d.model, a.kind, a.class, a.severity, a.quality,
       a.condition, a.handling, a.count, a.raised_at, a.last_at, a.cleared_at, a.acknowledged_at,
       a.acknowledged_by, a.dispatched_at, a.dispatched_to, a.version, a.detail,
       coalesce(p.name, '') AS person, coalesce(p.address, '') AS address,
       (SELECT string_agg(c.name || coalesce('（' || nullif(c.relation, '') || '）', ''), ' → ' ORDER BY c.rank)
        FROM contacts c WHERE c.person_id = a.person_id) AS contacts,
       (SELECT h.ts FROM heartbeats h WHERE h.device_id = a.device_id ORDER BY h.ts DESC LIMIT 1) AS heartbeat_at,
       (SELECT h.battery FROM heartbeats h WHERE h.device_id = a.device_id ORDER BY h.ts DESC LIMIT 1) AS battery
FROM alarms a
LEFT JOIN devices d USING (device_id)
LEFT JOIN regions r ON r.region = d.region
LEFT JOIN people p ON p.person_id = a.person_id
WHERE a.closed_at IS NULL;
COMMENT ON COLUMN board_open_alarms.contacts IS 'Whom to call, in this order.';
COMMENT ON COLUMN board_open_alarms.battery IS 'As its newest heartbeat has it, in %.';

CREATE VIEW board_devices AS
SELECT d.device, coalesce(d.region, '') AS region,
       coalesce(nullif(r.name, ''), d.region, '') AS region_name, d.model, d.self_registered, d.registered_at,
       s.alarm_id IS NOT NULL AS silent, b.alarm_id IS NOT NULL AS low_battery,
       coalesce(p.name, '') AS person, coalesce(p.address, '') AS address,
       (SELECT string_agg(c.name || coalesce('（' || nullif(c.relation, '') || '）', ''), ' → ' ORDER BY c.rank)
        FROM contacts c WHERE c.person_id = d.person_id) AS contacts,
       greatest((SELECT h.received_at FROM heartbeats h WHERE h.device_id = d.device_id ORDER BY h.ts DESC LIMIT 1),
                (SELECT v.received_at FROM vitals v WHERE v.device_id = d.device_id ORDER BY v.ts DESC LIMIT 1),
                (SELECT a.received_at FROM activity a WHERE a.device_id = d.device_id ORDER BY a.ts DESC LIMIT 1),
                (SELECT e.received_at FROM events e WHERE e.device_id = d.device_id ORDER BY e.ts DESC LIMIT 1)
       ) AS heard_at
FROM devices d
LEFT JOIN alarms s ON s.device_id = d.device_id AND s.kind = 'device_silent' AND s.closed_at IS NULL
LEFT JOIN alarms b ON b.device_id = d.device_id AND b.kind = 'low_battery' AND b.closed_at IS NULL
LEFT JOIN regions r ON r.region = d.region
LEFT JOIN people p ON p.person_id = d.person_id;
COMMENT ON COLUMN board_devices.silent IS 'It has an open alarm that says so; a device never heard of has none.';

CREATE VIEW board_regions AS
SELECT region, name FROM regions;

CREATE VIEW board_assignments AS
SELECT d.device, a.since, a.until, coalesce(p.name, '') AS person, coalesce(p.address, '') AS address
FROM assignments a
JOIN devices d USING (device_id)
LEFT JOIN people p ON p.person_id = a.person_id;

CREATE VIEW board_heartbeats AS
SELECT d.device, h.ts, h.battery, h.rssi, h.mains
FROM heartbeats h JOIN devices d USING (device_id);

CREATE VIEW board_events AS
SELECT d.device, e.ts, e.received_at, e.time_quality, e.event
FROM events e JOIN devices d USING (device_id);

-- Vitals in one shape: each row as it came, and again as part of its hour, for hours outlive rows. Ask for one of
-- the two by `hourly`. What is not rolled up yet stands among the hours by itself; of that, what came more than a
-- day late is missing until it is.
CREATE VIEW board_vitals AS
SELECT d.device, v.ts, false AS hourly,
       num_nonnulls(hr) AS hr_n, hr AS hr_min, hr::float8 AS hr_sum, hr AS hr_max,
       num_nonnulls(spo2) AS spo2_n, spo2 AS spo2_min, spo2::float8 AS spo2_sum,
       num_nonnulls(temp) AS temp_n, temp::float8 AS temp_sum, temp AS temp_max,
       num_nonnulls(sbp) AS sbp_n, sbp::float8 AS sbp_sum, num_nonnulls(dbp) AS dbp_n, dbp::float8 AS dbp_sum,
       num_nonnulls(glucose) AS glucose_n, glucose::float8 AS glucose_sum
FROM vitals v JOIN devices d USING (device_id)
UNION ALL
SELECT d.device, v.hour, true, hr_n, hr_min, hr_sum, hr_max, spo2_n, spo2_min, spo2_sum, temp_n, temp_sum, temp_max,
       sbp_n, sbp_sum, dbp_n, dbp_sum, glucose_n, glucose_sum
FROM vitals_hourly v JOIN devices d USING (device_id)
UNION ALL
SELECT d.device, v.ts, true, num_nonnulls(hr), hr, hr, hr, num_nonnulls(spo2), spo2, spo2,
       num_nonnulls(temp), temp, temp, num_nonnulls(sbp), sbp, num_nonnulls(dbp), dbp, num_nonnulls(glucose), glucose
FROM vitals v JOIN devices d USING (device_id)
WHERE v.batch > (SELECT batch FROM rolled_up)
  AND v.ts > (SELECT coalesce(until, '-infinity') - interval '1 day' FROM rolled_up);
COMMENT ON COLUMN board_vitals.hr_sum IS 'The mean of any rows is sum(hr_sum) / sum(hr_n), and so for every value.';

-- Roles belong to the cluster, where other databases may be making the same one now; and who owns this database need
-- not be allowed to make any. Without the role the boards are dark and everything else works.
DO $$
DECLARE
    board name;
    missing text := 'CREATE ROLE carebell_board NOLOGIN;';
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'carebell_board') THEN
        BEGIN
            CREATE ROLE carebell_board NOLOGIN;
        EXCEPTION
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                SELECT missing || string_agg(format(' GRANT SELECT ON %I TO carebell_board;', viewname), '' ORDER BY viewname)
                INTO missing FROM pg_views WHERE schemaname = current_schema() AND starts_with(viewname, 'board_');
                RAISE WARNING 'the boards have no role to read with; who may create roles must run: %', missing
                    USING ERRCODE = '01007';
                RETURN;
        END;
    END IF;
    FOR board IN SELECT viewname FROM pg_views WHERE schemaname = current_schema() AND starts_with(viewname, 'board_') LOOP
        EXECUTE format('GRANT SELECT ON %I TO carebell_board', board);
    END LOOP;
END $$;
