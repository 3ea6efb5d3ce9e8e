-- Everything but the bulk of the history, for bench/filling.py, which sets bench.devices, .bands, .batch and .now.

INSERT INTO regions (region, name)
SELECT (430602000 + n)::text, '街道 ' || n FROM generate_series(1, 40) AS n;

INSERT INTO people (name, birth_year, sex, phone, address)
SELECT '老人 ' || n, 1930 + n % 30, 'female', '0730-' || n, n || ' 号'
FROM generate_series(1, current_setting('bench.devices')::integer) AS n;

INSERT INTO contacts (person_id, rank, name, relation, phone)
SELECT person_id, rank, '亲属 ' || rank, '女儿', '0730' FROM people, generate_series(1, 2) AS rank;

INSERT INTO devices (device, region, model, heartbeat_seconds, person_id)
SELECT 'DEVICE-' || lpad((person_id - 1)::text, 7, '0'), (430602001 + person_id % 40)::text,
       CASE person_id % current_setting('bench.bands')::integer WHEN 0 THEN 'band' ELSE 'bell' END, 600, person_id
FROM people;

-- A 报平安 a day from each.
INSERT INTO events (device_id, ts, received_at, time_quality, digest, batch, channel, event)
SELECT device_id, at, at, 0, n, current_setting('bench.batch')::bigint, 3, 13
FROM devices, generate_series(0, 29) AS n,
     LATERAL (SELECT current_setting('bench.now')::timestamptz - n * interval '1 day' - device_id * interval '0.5 s')
         AS moment(at);

-- Two alarms of each device that were dealt with.
INSERT INTO alarms (device_id, person_id, kind, class, severity, quality, condition, handling, raised_at, last_at,
                    closed_at, closed_by, outcome)
SELECT device_id, person_id, kind, class, severity, 'ok', 'cleared', 'closed', at, at, at + interval '5 min', 'li', 'test'
FROM devices,
     (VALUES ('sos', 'life', 'critical'), ('device_silent', 'technical', 'medium')) AS k(kind, class, severity),
     LATERAL (SELECT current_setting('bench.now')::timestamptz - device_id % 2000 * interval '20 min') AS moment(at);

-- Of each 50 devices one with an open alarm, most of them silent.
INSERT INTO alarms (device_id, person_id, kind, class, severity, quality, condition, raised_at, last_at)
SELECT device_id, person_id, kind, class, severity, 'ok', 'active', at, at
FROM devices
JOIN (VALUES (0, 'sos', 'life', 'critical'), (1, 'hr_high', 'health', 'high'), (2, 'low_battery', 'technical', 'low'),
             (3, 'device_silent', 'technical', 'medium')) AS k(place, kind, class, severity)
    ON place = least(device_id / 50 % 10, 3),
     LATERAL (SELECT current_setting('bench.now')::timestamptz - device_id % 2000 * interval '20 s') AS moment(at)
WHERE device_id % 50 = 0;
