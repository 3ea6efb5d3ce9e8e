-- People move, devices pass on: who had a device when, whom an alarm was about, and the numbers people bear in files.

CREATE SEQUENCE people_number;
ALTER TABLE people ADD person text;
UPDATE people SET person = 'P' || person_id;
SELECT setval('people_number', coalesce(max(person_id), 0) + 1, false) FROM people;
ALTER TABLE people
    ALTER person SET DEFAULT 'P' || nextval('people_number'),
    ALTER person SET NOT NULL,
    ADD UNIQUE (person);
ALTER SEQUENCE people_number OWNED BY people.person;
COMMENT ON COLUMN people.person IS 'The number that the person bears in files (档案编号); who comes without one is given one.';

ALTER TABLE devices ADD changed_at timestamptz NOT NULL DEFAULT now();
CREATE INDEX devices_changed ON devices (changed_at);
COMMENT ON COLUMN devices.changed_at IS 'When an import or a move last changed the row, server time: the bridge reads what is new.';
COMMENT ON COLUMN devices.person_id IS 'Who has it now; assignments has who had it when.';

-- No foreign keys: only the trigger below writes here, out of rows that have them, and each would cost a million checks.
CREATE TABLE assignments (
    device_id integer NOT NULL,
    person_id integer NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz CHECK (until > since),
    PRIMARY KEY (device_id, since)
);
CREATE UNIQUE INDEX assignments_one_open ON assignments (device_id) WHERE until IS NULL;
CREATE INDEX assignments_person ON assignments (person_id);
COMMENT ON TABLE assignments IS 'Who had a device when: the trigger on devices keeps it.';
COMMENT ON COLUMN assignments.since IS 'From this moment on, on the clock of the installation.';
COMMENT ON COLUMN assignments.until IS 'Up to but without this moment; null: still.';

INSERT INTO assignments (device_id, person_id, since)
SELECT device_id, person_id, registered_at FROM devices WHERE person_id IS NOT NULL;

ALTER TABLE alarms ADD person_id integer REFERENCES people;
UPDATE alarms a SET person_id = d.person_id FROM devices d WHERE d.device_id = a.device_id AND d.person_id IS NOT NULL;
CREATE INDEX alarms_person ON alarms (person_id, alarm_id) WHERE person_id IS NOT NULL;
COMMENT ON COLUMN alarms.person_id IS 'Who had the device at the newest activation; stays when the device passes on.';

-- Whoever writes devices.person_id, by whatever way, the histories stay apart. carebell.at, where it is set, is the time on
-- the clock of the installation. A new span begins where the last one ended, should that clock have been set back.
CREATE FUNCTION devices_keep_assignments() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz := coalesce(nullif(current_setting('carebell.at', true), '')::timestamptz, now());
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO assignments (device_id, person_id, since)
        SELECT device_id, person_id, at FROM after WHERE person_id IS NOT NULL;
        RETURN NULL;
    END IF;
    UPDATE assignments s SET until = greatest(at, s.since + interval '1 microsecond')
    FROM before b JOIN after a USING (device_id)
    WHERE s.device_id = a.device_id AND s.until IS NULL AND a.person_id IS DISTINCT FROM b.person_id;
    INSERT INTO assignments (device_id, person_id, since)
    SELECT a.device_id, a.person_id,
           greatest(at, (SELECT max(s.until) FROM assignments s WHERE s.device_id = a.device_id))
    FROM before b JOIN after a USING (device_id)
    WHERE a.person_id IS DISTINCT FROM b.person_id AND a.person_id IS NOT NULL;
    WITH followed AS (
        UPDATE alarms l SET person_id = a.person_id, version = l.version + 1
        FROM before b JOIN after a USING (device_id)
        WHERE l.device_id = a.device_id AND l.closed_at IS NULL AND (l.class = 'technical' OR l.person_id IS NULL)
          AND a.person_id IS DISTINCT FROM b.person_id
        RETURNING l.alarm_id, l.person_id
    )
    INSERT INTO alarm_log (alarm_id, at, actor, verb, detail)
    SELECT f.alarm_id, at, 'carebell', 'moved', jsonb_build_object('person', p.person)
    FROM followed f LEFT JOIN people p USING (person_id);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION devices_keep_assignments IS
    'Open technical alarms go along with the device; an open alarm that is about nobody is then about whoever gets it.';
CREATE TRIGGER devices_assigned AFTER INSERT ON devices REFERENCING NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION devices_keep_assignments();
CREATE TRIGGER devices_moved AFTER UPDATE ON devices REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION devices_keep_assignments();

CREATE OR REPLACE VIEW board_alarms AS
SELECT a.alarm_id, d.device, coalesce(d.region, '') AS region, d.model, a.kind, a.class, a.severity, a.quality,
       a.condition, a.handling, a.count, a.raised_at, a.last_at, a.cleared_at, a.acknowledged_at,
       a.acknowledged_by, a.dispatched_at, a.dispatched_to, a.closed_at, a.closed_by, a.outcome, a.version,
       a.detail, a.committed_at,
       row_number() OVER (PARTITION BY a.device_id, a.kind ORDER BY a.alarm_id) AS occurrence,
       coalesce(p.name, '') AS person, coalesce(p.phone, '') AS phone, coalesce(p.address, '') AS address
FROM alarms a
JOIN devices d USING (device_id)
LEFT JOIN people p ON p.person_id = a.person_id;

CREATE OR REPLACE VIEW board_open_alarms AS
SELECT a.alarm_id, d.device, coalesce(d.region, '') AS region, d.model, a.kind, a.class, a.severity, a.quality,
       a.condition, a.handling, a.count, a.raised_at, a.last_at, a.cleared_at, a.acknowledged_at,
       a.acknowledged_by, a.dispatched_at, a.dispatched_to, a.version, a.detail,
       coalesce(p.name, '') AS person, coalesce(p.phone, '') AS phone, coalesce(p.address, '') AS address
FROM alarms a
JOIN devices d USING (device_id)
LEFT JOIN people p ON p.person_id = a.person_id
WHERE a.closed_at IS NULL
ORDER BY array_position(ARRAY['critical', 'high', 'medium', 'low'], a.severity), a.raised_at, a.alarm_id;

CREATE OR REPLACE VIEW duty_alarms AS
SELECT a.alarm_id, a.device_id, d.device, coalesce(d.region, '') AS region, coalesce(r.name, '') AS region_name,
       d.model, a.kind, a.class, a.severity, a.quality, a.condition, a.handling, a.count, a.raised_at, a.last_at,
       a.cleared_at, a.acknowledged_at, a.acknowledged_by, a.dispatched_at, a.dispatched_to, a.closed_at,
       a.closed_by, a.outcome, a.version, a.detail,
       coalesce(p.name, '') AS person, coalesce(p.phone, '') AS phone, coalesce(p.address, '') AS address
FROM alarms a
JOIN devices d USING (device_id)
LEFT JOIN regions r USING (region)
LEFT JOIN people p ON p.person_id = a.person_id;

CREATE VIEW person_vitals AS
SELECT s.person_id, v.device_id, v.ts, v.time_quality, v.hr, v.spo2, v.temp, v.sbp, v.dbp, v.glucose, v.worn, v.steps
FROM assignments s
JOIN vitals v ON v.device_id = s.device_id AND v.ts >= s.since AND (s.until IS NULL OR v.ts < s.until);
COMMENT ON VIEW person_vitals IS 'The vitals of a person: those of each device for the time that it was theirs.';
