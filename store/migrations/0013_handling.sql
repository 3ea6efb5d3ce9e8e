-- Handling to its end: arrival, assignment, merging, shelving, re-opening. The list shows neither telephone nor address.

ALTER TABLE alarms
    ADD arrived_at timestamptz,
    ADD assigned_to text,
    ADD parent_id bigint REFERENCES alarms,
    ADD shelved_until timestamptz,
    ADD reopened integer NOT NULL DEFAULT 0,
    DROP CONSTRAINT alarms_handling_check,
    ADD CONSTRAINT alarms_handling_check
        CHECK (handling IN ('unacknowledged', 'acknowledged', 'dispatched', 'arrived', 'closed')),
    ADD CONSTRAINT alarms_parent_check CHECK (parent_id <> alarm_id AND (parent_id IS NULL OR closed_at IS NOT NULL)),
    ADD CONSTRAINT alarms_arrived_check CHECK (arrived_at IS NULL OR dispatched_at IS NOT NULL),
    ADD CONSTRAINT alarms_shelved_check CHECK (shelved_until IS NULL OR class <> 'life');
CREATE INDEX alarms_parent ON alarms (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX alarms_shelved ON alarms (shelved_until) WHERE shelved_until IS NOT NULL AND closed_at IS NULL;
CREATE INDEX alarms_open ON alarms (alarm_id) WHERE closed_at IS NULL;
CREATE INDEX alarms_closed ON alarms (alarm_id) WHERE closed_at IS NOT NULL;
COMMENT ON COLUMN alarms.arrived_at IS 'When somebody was first on site.';
COMMENT ON COLUMN alarms.assigned_to IS 'Who of the staff is to see to it; null: whoever acknowledged it.';
COMMENT ON COLUMN alarms.parent_id IS 'The alarm into which it was merged: closed with the outcome merged.';
COMMENT ON COLUMN alarms.shelved_until IS 'Not before staff until then, on the clock of the installation; never of class life.';
COMMENT ON COLUMN alarms.reopened IS 'Times that it was opened again.';
COMMENT ON COLUMN alarm_log.verb IS
    'raised, repeated, stepped, suppressed, unsuppressed, cleared, closed, marked (of a drill), moved, unshelved, notified; acknowledged, dispatched, arrived, assigned, noted, merged, adopted (of the parent), shelved, reopened by people.';

DROP VIEW duty_alarms;
CREATE VIEW duty_alarms AS
SELECT a.alarm_id, a.device_id, d.device, coalesce(d.region, '') AS region, coalesce(r.name, '') AS region_name,
       d.model, a.kind, a.class, a.severity, a.quality, a.condition, a.handling, a.count, a.raised_at, a.last_at,
       a.cleared_at, a.acknowledged_at, a.acknowledged_by, a.assigned_to, a.dispatched_at, a.dispatched_to, a.arrived_at,
       a.closed_at, a.closed_by, a.outcome, a.parent_id, a.shelved_until, a.version, a.detail,
       a.person_id, coalesce(p.name, '') AS person, a.suppressed, a.rule, a.rule_set_id, a.drill
FROM alarms a
JOIN devices d USING (device_id)
LEFT JOIN regions r USING (region)
LEFT JOIN people p ON p.person_id = a.person_id;
COMMENT ON VIEW duty_alarms IS
    'What the desk lists of an alarm: the least, without telephone and address. No window, so that one row is found by its key.';
