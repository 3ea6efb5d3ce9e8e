-- Rules that change while the bridge runs: which version decided what, what they ask of the registry, alarms that
-- stand in the history because an area is out, and severities that rise.

-- Each `rule apply` is a version, also of a text that was there before.
ALTER TABLE rule_sets DROP CONSTRAINT rule_sets_sha256_key;
ALTER TABLE rule_sets RENAME first_used_at TO used_at;
ALTER TABLE rule_sets
    ALTER used_at DROP NOT NULL,
    ALTER used_at DROP DEFAULT,
    ADD applied_at timestamptz,
    ADD applied_by text,
    ADD refused text;
COMMENT ON TABLE rule_sets IS 'Every rule file that ran or was to run, word for word; the number is its version.';
COMMENT ON COLUMN rule_sets.used_at IS 'When a bridge began to decide by it, server time; the newest is in force. Null: none did.';
COMMENT ON COLUMN rule_sets.applied_at IS 'When it was applied, server time; null: it is the file of the settings, or the shipped one.';
COMMENT ON COLUMN rule_sets.refused IS 'Why the bridge did not take it; null: nothing was wrong with it.';

-- Rows of before bear no version: they are judged by the rules with which the bridge then starts.
ALTER TABLE ingest_ledger ADD rule_set_id integer, ADD tick boolean NOT NULL DEFAULT false, ADD forgiven_at timestamptz;
COMMENT ON COLUMN ingest_ledger.tick IS 'Nothing came: the batch let time pass.';
COMMENT ON COLUMN ingest_ledger.forgiven_at IS 'Before it nobody could be heard until then. Null: everybody could.';
COMMENT ON COLUMN ingest_ledger.rule_set_id IS 'The rules by which the batch was judged; a restore judges it by the same.';
ALTER TABLE engine_checkpoints ADD rule_set_id integer;
COMMENT ON COLUMN engine_checkpoints.rule_set_id IS 'The rules whose state this is.';

COMMENT ON COLUMN vitals.time_quality IS '0 ok, 1 missing, 2 assumed_zone, 3 future, 4 epoch, 5 late, 6 unreadable, 7 retained';

ALTER TABLE devices ADD gateway text NOT NULL DEFAULT '';
COMMENT ON COLUMN devices.gateway IS 'Through which gateway it speaks: devices behind one fall silent together.';

ALTER TABLE people
    ADD care_level text NOT NULL DEFAULT '',
    ADD thresholds jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(thresholds) = 'object');
COMMENT ON COLUMN people.care_level IS 'As the house calls it (护理等级): rules may be meant for some of them.';
COMMENT ON COLUMN people.thresholds IS 'Limits of this person, by the names that the rules give them.';

ALTER TABLE alarms ADD suppressed text, ADD rule integer, ADD rule_set_id integer;
COMMENT ON COLUMN alarms.suppressed IS 'The area whose outage explains it, so that it does not stand before staff; null: it does.';
COMMENT ON COLUMN alarms.rule IS 'Number of the rule that raised it first, in the file of rule_set_id; null: an alarm of the line itself.';
ALTER TABLE alarm_log ADD rule integer, ADD rule_set_id integer;
COMMENT ON COLUMN alarm_log.verb IS
    'raised, repeated, stepped, suppressed, unsuppressed, cleared, closed, moved; acknowledged, dispatched, closed by people.';
COMMENT ON COLUMN alarm_log.rule IS 'Number of the rule that decided it, in the file of rule_set_id; null: no rule did.';

CREATE OR REPLACE VIEW duty_alarms AS
SELECT a.alarm_id, a.device_id, d.device, coalesce(d.region, '') AS region, coalesce(r.name, '') AS region_name,
       d.model, a.kind, a.class, a.severity, a.quality, a.condition, a.handling, a.count, a.raised_at, a.last_at,
       a.cleared_at, a.acknowledged_at, a.acknowledged_by, a.dispatched_at, a.dispatched_to, a.closed_at,
       a.closed_by, a.outcome, a.version, a.detail,
       coalesce(p.name, '') AS person, coalesce(p.phone, '') AS phone, coalesce(p.address, '') AS address,
       a.suppressed, a.rule, a.rule_set_id
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
       a.suppressed
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
       (SELECT h.battery FROM heartbeats h WHERE h.device_id = a.device_id ORDER BY h.ts DESC LIMIT 1) AS battery
FROM alarms a
LEFT JOIN devices d USING (device_id)
LEFT JOIN regions r ON r.region = d.region
LEFT JOIN people p ON p.person_id = a.person_id
WHERE a.closed_at IS NULL AND a.suppressed IS NULL;
COMMENT ON VIEW board_open_alarms IS 'What stands before staff: what an outage explains does not.';
