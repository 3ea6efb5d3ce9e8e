-- Alarms by the million, for bench/desk.py, which asks for `low` to `high` of `total`, the newest the highest. Keys to
-- other tables are not checked: session_replication_role is replica meanwhile, as for a restore.

-- name: closed
-- Three years, evenly: a month has about 280,000 of 10 million. One in six is of life.
INSERT INTO alarms (device_id, person_id, kind, class, severity, quality, condition, handling, raised_at, last_at,
                    acknowledged_at, acknowledged_by, dispatched_at, dispatched_to, arrived_at, closed_at, closed_by,
                    outcome, version)
SELECT d.device_id, d.person_id, k.kind, k.class, k.severity, 'ok', 'cleared', 'closed', at, at,
       at + n %% 97 * interval '1 s', 'operator ' || n %% 40,
       CASE WHEN n %% 3 = 0 THEN at + interval '5 min' END, CASE WHEN n %% 3 = 0 THEN '网格员' END,
       CASE WHEN n %% 3 = 0 THEN at + n %% 50 * interval '1 min' + interval '5 min' END,
       at + interval '1 hour', 'operator ' || n %% 40,
       (ARRAY['check_in', 'accidental', 'test', 'medical', 'fall', 'equipment_fault'])[1 + n %% 6], 4
FROM generate_series(%(low)s::bigint, %(high)s::bigint - 1) AS n
JOIN (VALUES (0, 'sos', 'life', 'critical'), (1, 'hr_high', 'health', 'high'), (2, 'inactivity', 'health', 'medium'),
             (3, 'device_silent', 'technical', 'medium'), (4, 'low_battery', 'technical', 'low'),
             (5, 'mains_lost', 'technical', 'medium')) AS k(place, kind, class, severity) ON k.place = n %% 6
JOIN devices d ON d.device_id = (%(devices)s::integer[])[1 + n * 7919 %% cardinality(%(devices)s::integer[])],
     LATERAL (SELECT %(now)s::timestamptz - interval '3 years'
                     + (n + 1)::float8 / (%(total)s + 1) * interval '3 years') AS moment(at)

-- name: open
-- One in twenty is of life; the rest have kinds that bench/history.sql leaves alone.
INSERT INTO alarms (device_id, person_id, kind, class, severity, quality, condition, raised_at, last_at)
SELECT d.device_id, d.person_id, k.kind, k.class, k.severity, 'ok', 'active', at, at
FROM generate_series(0, %(open)s::bigint - 1) AS n
JOIN (VALUES (0, 'fall', 'life', 'critical'), (1, 'bp_high', 'health', 'high'), (2, 'tamper', 'technical', 'medium'),
             (3, 'not_worn', 'technical', 'low')) AS k(place, kind, class, severity)
    ON k.place = CASE WHEN n %% 20 = 0 THEN 0 ELSE 1 + n %% 3 END
JOIN devices d ON d.device_id = (%(devices)s::integer[])[1 + n * 7919 %% cardinality(%(devices)s::integer[])],
     LATERAL (SELECT %(now)s::timestamptz - n * interval '8 s') AS moment(at)
ON CONFLICT (device_id, kind) WHERE closed_at IS NULL DO NOTHING

-- name: audit
INSERT INTO audit_log (at, actor, role, action, alarm_id, status, address)
SELECT clock_timestamp() - (%(lines)s - n) * interval '1 s', 'operator ' || n %% 40, 'operator', 'show_alarm', n, 200, '127.0.0.1'
FROM generate_series(1, %(lines)s::bigint) AS n
