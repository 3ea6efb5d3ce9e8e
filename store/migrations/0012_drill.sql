-- Drills: calls of devices that nobody wears. They go through the whole line as any other, count apart, and end by themselves.

ALTER TABLE devices ADD drill boolean NOT NULL DEFAULT false;
CREATE INDEX devices_drill ON devices (device_id) WHERE drill;
COMMENT ON COLUMN devices.drill IS 'Made by `carebell drill`, worn by nobody: no message and no import can set it.';
ALTER TABLE devices ADD drill_until timestamptz;
COMMENT ON COLUMN devices.drill_until IS
    'When a device of drills became one like any other, on the clock of the installation: what it said before was for drills.';

ALTER TABLE alarms ADD drill boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN alarms.drill IS 'Of a device of drills: it counts apart. Written with the alarm, and never set later.';
CREATE INDEX alarms_drill ON alarms (device_id) WHERE drill;

CREATE TABLE drills (
    drill_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    region text NOT NULL,
    began_at timestamptz NOT NULL,
    began_by text NOT NULL,
    ends_at timestamptz NOT NULL,
    heard_until timestamptz NOT NULL,
    after_alarm_id bigint NOT NULL
);
COMMENT ON TABLE drills IS 'Each `carebell drill`.';
COMMENT ON COLUMN drills.began_at IS 'On the clock of the installation, as is ends_at.';
COMMENT ON COLUMN drills.ends_at IS 'When the desk closes what is still open of it.';
COMMENT ON COLUMN drills.heard_until IS
    'When it was planned to end: until then the broker may still deliver its calls, also those of a drill that was ended early.';
COMMENT ON COLUMN drills.after_alarm_id IS 'The newest alarm at its beginning: its own are newer.';

CREATE TABLE drill_calls (
    drill_id integer NOT NULL REFERENCES drills,
    device_id integer NOT NULL REFERENCES devices,
    kind text NOT NULL,
    due_at timestamptz NOT NULL,
    sent_at timestamptz,
    PRIMARY KEY (drill_id, device_id)
);
CREATE INDEX drill_calls_device ON drill_calls (device_id);
COMMENT ON TABLE drill_calls IS 'Which device calls for help in a drill, and when.';
COMMENT ON COLUMN drill_calls.due_at IS 'On the clock of the installation.';
COMMENT ON COLUMN drill_calls.sent_at IS 'Server time right before it was published; null: it was not.';

CREATE VIEW drill_alarms AS
SELECT d.drill_id, d.ends_at, c.device_id, a.alarm_id
FROM drills d
JOIN drill_calls c USING (drill_id)
JOIN alarms a ON a.drill AND a.class = 'life' AND a.device_id = c.device_id
                 AND a.alarm_id > d.after_alarm_id AND a.last_at <= d.heard_until + interval '1 minute';
COMMENT ON VIEW drill_alarms IS
    'What belongs to a drill, with a minute for what was on its way. What its devices say later waits for duty.';

COMMENT ON COLUMN alarm_log.verb IS
    'raised, repeated, stepped, suppressed, unsuppressed, cleared, closed, marked (of a drill), moved; acknowledged, dispatched, closed by people.';

CREATE OR REPLACE VIEW duty_alarms AS
SELECT a.alarm_id, a.device_id, d.device, coalesce(d.region, '') AS region, coalesce(r.name, '') AS region_name,
       d.model, a.kind, a.class, a.severity, a.quality, a.condition, a.handling, a.count, a.raised_at, a.last_at,
       a.cleared_at, a.acknowledged_at, a.acknowledged_by, a.dispatched_at, a.dispatched_to, a.closed_at,
       a.closed_by, a.outcome, a.version, a.detail,
       coalesce(p.name, '') AS person, coalesce(p.phone, '') AS phone, coalesce(p.address, '') AS address,
       a.suppressed, a.rule, a.rule_set_id, a.drill
FROM alarms a
JOIN devices d USING (device_id)
LEFT JOIN regions r USING (region)
LEFT JOIN people p ON p.person_id = a.person_id;

CREATE OR REPLACE VIEW board_alarms AS
SELECT a.alarm_id, d.device, coalesce(d.region, '') AS region,
       coalesce(nullif(r.name, ''), d.region, '') AS region_name, d.model, a.kind, a.class, a.severity, a.quality,
       a.condition, a.handling, a.count, a.raised_at, a.last_at, a.cleared_at, a.acknowledged_at,
       a.acknowledged_by, a.dispatched_at, a.dispatched_to, a.closed_at, a.closed_by, a.outcome, a.version,
       a.detail, a.committed_at,
       (SELECT count(*) FROM alarms b
        WHERE b.device_id = a.device_id AND b.kind = a.kind AND b.alarm_id <= a.alarm_id) AS occurrence,
       coalesce(p.name, '') AS person, coalesce(p.address, '') AS address,
       a.suppressed, a.drill
FROM alarms a
LEFT JOIN devices d USING (device_id)
LEFT JOIN regions r ON r.region = d.region
LEFT JOIN people p ON p.person_id = a.person_id;
COMMENT ON COLUMN board_alarms.drill IS 'Figures leave these out; what stands before staff now does not, so that a drill looks real.';

CREATE OR REPLACE VIEW board_devices AS
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
       ) AS heard_at,
       d.drill
FROM devices d
LEFT JOIN alarms s ON s.device_id = d.device_id AND s.kind = 'device_silent' AND s.closed_at IS NULL
LEFT JOIN alarms b ON b.device_id = d.device_id AND b.kind = 'low_battery' AND b.closed_at IS NULL
LEFT JOIN regions r ON r.region = d.region
LEFT JOIN people p ON p.person_id = d.person_id;

CREATE VIEW board_drills AS
SELECT d.drill_id, d.region, coalesce(nullif(r.name, ''), d.region) AS region_name, d.began_at, d.ends_at,
       count(c.sent_at) AS calls, count(a.alarm_id) AS alarms, count(a.acknowledged_at) AS acknowledged,
       avg(extract(epoch FROM a.acknowledged_at - a.raised_at))::float8 AS seconds,
       max(extract(epoch FROM a.acknowledged_at - a.raised_at))::float8 AS longest_seconds,
       count(*) FILTER (WHERE a.closed_by <> 'carebell') AS closed
FROM drills d
JOIN drill_calls c USING (drill_id)
LEFT JOIN drill_alarms o USING (drill_id, device_id)
LEFT JOIN alarms a ON a.alarm_id = o.alarm_id AND a.kind = c.kind
LEFT JOIN regions r ON r.region = d.region
GROUP BY d.drill_id, r.name;
COMMENT ON COLUMN board_drills.seconds IS 'From alarm to acknowledgement, the mean.';
COMMENT ON COLUMN board_drills.closed IS 'By people, before the drill ended.';

-- Where the role is missing, 0007 has said so.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'carebell_board') THEN
        GRANT SELECT ON board_drills TO carebell_board;
    END IF;
END $$;
