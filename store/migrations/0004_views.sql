-- What people look at. Boards read views only.

CREATE VIEW board_alarms AS
SELECT a.alarm_id, d.device, coalesce(d.region, '') AS region, d.model, a.kind, a.class, a.severity, a.quality,
       a.condition, a.handling, a.count, a.raised_at, a.last_at, a.cleared_at, a.acknowledged_at,
       a.acknowledged_by, a.dispatched_at, a.dispatched_to, a.closed_at, a.closed_by, a.outcome, a.version,
       a.detail, a.committed_at,
       row_number() OVER (PARTITION BY a.device_id, a.kind ORDER BY a.alarm_id) AS occurrence,
       coalesce(p.name, '') AS person, coalesce(p.phone, '') AS phone, coalesce(p.address, '') AS address
FROM alarms a
JOIN devices d USING (device_id)
LEFT JOIN people p USING (person_id);

CREATE VIEW board_open_alarms AS
SELECT a.alarm_id, d.device, coalesce(d.region, '') AS region, d.model, a.kind, a.class, a.severity, a.quality,
       a.condition, a.handling, a.count, a.raised_at, a.last_at, a.cleared_at, a.acknowledged_at,
       a.acknowledged_by, a.dispatched_at, a.dispatched_to, a.version, a.detail,
       coalesce(p.name, '') AS person, coalesce(p.phone, '') AS phone, coalesce(p.address, '') AS address
FROM alarms a
JOIN devices d USING (device_id)
LEFT JOIN people p USING (person_id)
WHERE a.closed_at IS NULL
ORDER BY array_position(ARRAY['critical', 'high', 'medium', 'low'], a.severity), a.raised_at, a.alarm_id;

CREATE VIEW duty_alarms AS
SELECT a.alarm_id, a.device_id, d.device, coalesce(d.region, '') AS region, coalesce(r.name, '') AS region_name,
       d.model, a.kind, a.class, a.severity, a.quality, a.condition, a.handling, a.count, a.raised_at, a.last_at,
       a.cleared_at, a.acknowledged_at, a.acknowledged_by, a.dispatched_at, a.dispatched_to, a.closed_at,
       a.closed_by, a.outcome, a.version, a.detail,
       coalesce(p.name, '') AS person, coalesce(p.phone, '') AS phone, coalesce(p.address, '') AS address
FROM alarms a
JOIN devices d USING (device_id)
LEFT JOIN regions r USING (region)
LEFT JOIN people p USING (person_id);
COMMENT ON VIEW duty_alarms IS 'What the desk shows of an alarm; without a window, so that one row is found by its key.';
