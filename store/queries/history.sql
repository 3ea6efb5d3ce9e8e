-- name: chunks_timescale
SELECT hypertable_name, chunk_schema, chunk_name, range_start, range_end
FROM timescaledb_information.chunks WHERE hypertable_schema = 'public' AND hypertable_name = %(table)s
ORDER BY range_start

-- name: chunks_native
-- The default partition has no bounds and is no chunk. A bound is read back in the type of its column.
SELECT p.relname, n.nspname, c.relname,
       CASE a.atttypid WHEN 'date'::regtype THEN bounds[1]::date::timestamp AT TIME ZONE 'UTC'
            ELSE bounds[1]::timestamptz END AS range_start,
       CASE a.atttypid WHEN 'date'::regtype THEN bounds[2]::date::timestamp AT TIME ZONE 'UTC'
            ELSE bounds[2]::timestamptz END AS range_end
FROM pg_inherits i
JOIN pg_class p ON p.oid = i.inhparent
JOIN pg_class c ON c.oid = i.inhrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_partitioned_table t ON t.partrelid = p.oid
JOIN pg_attribute a ON a.attrelid = p.oid AND a.attnum = t.partattrs[0]
CROSS JOIN LATERAL
    regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') AS bounds
WHERE p.oid = %(table)s::regclass AND bounds IS NOT NULL
ORDER BY range_start

-- name: width_timescale
SELECT time_interval FROM timescaledb_information.dimensions
WHERE hypertable_schema = 'public' AND hypertable_name = %(table)s

-- name: lock_room
-- Whoever makes or drops chunks takes turns.
SELECT pg_advisory_xact_lock(42020), set_config('lock_timeout', '50ms', true)

-- name: lock_maintenance
SELECT pg_try_advisory_lock(42021)

-- name: own_session
-- Nothing here needs its commit to be on the disk: what is lost with the server is done again.
-- A second process for a query would take the processor from the line. Batches are looked up in the BRIN index on
-- them, whatever the planner thinks of tables of which it knows little yet.
SELECT set_config('synchronous_commit', 'off', false), set_config('max_parallel_workers_per_gather', '0', false),
       set_config('jit', 'off', false), set_config('enable_seqscan', 'off', false), set_config('enable_indexscan', 'off', false),
       set_config('TimeZone', 'UTC', false), set_config('work_mem', '64MB', false)

-- name: fleet
-- What the registry lets us expect, and the memory there is. Ten minutes is what the shipped rules take.
SELECT coalesce(sum(86400.0 / coalesce(heartbeat_seconds, 600)), 0)::float8,
       pg_size_bytes(current_setting('shared_buffers'))
FROM devices WHERE NOT drill

-- name: marks
SELECT maintained_at, until, brought, database_bytes FROM maintenance
WHERE maintained_at > %(since)s ORDER BY maintained_at

-- name: mark
INSERT INTO maintenance (maintained_at, until, brought, database_bytes)
SELECT %(now)s, until, brought, pg_database_size(current_database()) FROM rolled_up
ON CONFLICT (maintained_at) DO UPDATE SET
    until = excluded.until, brought = excluded.brought, database_bytes = excluded.database_bytes
RETURNING database_bytes

-- name: trim_marks
DELETE FROM maintenance WHERE maintained_at < %(before)s

-- name: unsummarised
-- BRIN knows nothing of blocks that came since the last vacuum, and every search has to read them.
SELECT i.indexrelid::regclass::text
FROM pg_inherits h
JOIN pg_index i ON i.indrelid = h.inhrelid
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_am m ON m.oid = x.relam AND m.amname = 'brin'
WHERE h.inhparent = %(table)s::regclass AND pg_relation_size(h.inhrelid) > 0

-- name: summarise
SELECT brin_summarize_new_values(%(index)s::regclass)

-- name: unknown_to_the_planner
SELECT n.nspname, c.relname
FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE h.inhparent = %(table)s::regclass AND c.reltuples < 0 AND pg_relation_size(c.oid) > 0

-- name: rolled_up
SELECT r.batch, coalesce(l.batch, r.batch), l.now
FROM rolled_up r LEFT JOIN LATERAL (SELECT batch, now FROM ingest_ledger ORDER BY batch DESC LIMIT 1) l ON true

-- name: hold_rolled_up
SELECT batch FROM rolled_up FOR UPDATE

-- name: count_heartbeats
SELECT count(*) FROM heartbeats WHERE batch > %(after)s AND batch <= %(upto)s

-- name: count_events
SELECT count(*) FROM events WHERE batch > %(after)s AND batch <= %(upto)s

-- name: count_dead_letters
SELECT count(*) FROM dead_letters WHERE batch > %(after)s AND batch <= %(upto)s

-- name: roll_up_vitals
WITH came AS MATERIALIZED (
    SELECT device_id, date_trunc('hour', ts, 'UTC') AS hour, count(*)::integer AS n,
           nullif(count(hr), 0)::integer AS hr_n, min(hr) AS hr_min, sum(hr::float8) AS hr_sum, max(hr) AS hr_max,
           nullif(count(spo2), 0)::integer AS spo2_n, min(spo2) AS spo2_min, sum(spo2::float8) AS spo2_sum,
           max(spo2) AS spo2_max,
           nullif(count(temp), 0)::integer AS temp_n, min(temp) AS temp_min, sum(temp::float8) AS temp_sum,
           max(temp) AS temp_max,
           nullif(count(sbp), 0)::integer AS sbp_n, min(sbp) AS sbp_min, sum(sbp::float8) AS sbp_sum,
           max(sbp) AS sbp_max,
           nullif(count(dbp), 0)::integer AS dbp_n, min(dbp) AS dbp_min, sum(dbp::float8) AS dbp_sum,
           max(dbp) AS dbp_max,
           nullif(count(glucose), 0)::integer AS glucose_n, min(glucose) AS glucose_min,
           sum(glucose::float8) AS glucose_sum, max(glucose) AS glucose_max,
           nullif(count(worn), 0)::integer AS worn_n, sum(worn::integer)::integer AS worn_true,
           nullif(count(steps), 0)::integer AS steps_n, min(steps) AS steps_min, max(steps) AS steps_max
    FROM vitals WHERE batch > %(after)s AND batch <= %(upto)s
    GROUP BY 1, 2
    ORDER BY 1, 2
), added AS (
    INSERT INTO vitals_hourly AS h (
        device_id, hour, n,
        hr_n, hr_min, hr_sum, hr_max, spo2_n, spo2_min, spo2_sum, spo2_max, temp_n, temp_min, temp_sum, temp_max,
        sbp_n, sbp_min, sbp_sum, sbp_max, dbp_n, dbp_min, dbp_sum, dbp_max,
        glucose_n, glucose_min, glucose_sum, glucose_max, worn_n, worn_true, steps_n, steps_min, steps_max)
    SELECT * FROM came
    ON CONFLICT (device_id, hour) DO UPDATE SET
        n = h.n + excluded.n,
        hr_n = coalesce(h.hr_n + excluded.hr_n, h.hr_n, excluded.hr_n),
        hr_min = least(h.hr_min, excluded.hr_min),
        hr_sum = coalesce(h.hr_sum + excluded.hr_sum, h.hr_sum, excluded.hr_sum),
        hr_max = greatest(h.hr_max, excluded.hr_max),
        spo2_n = coalesce(h.spo2_n + excluded.spo2_n, h.spo2_n, excluded.spo2_n),
        spo2_min = least(h.spo2_min, excluded.spo2_min),
        spo2_sum = coalesce(h.spo2_sum + excluded.spo2_sum, h.spo2_sum, excluded.spo2_sum),
        spo2_max = greatest(h.spo2_max, excluded.spo2_max),
        temp_n = coalesce(h.temp_n + excluded.temp_n, h.temp_n, excluded.temp_n),
        temp_min = least(h.temp_min, excluded.temp_min),
        temp_sum = coalesce(h.temp_sum + excluded.temp_sum, h.temp_sum, excluded.temp_sum),
        temp_max = greatest(h.temp_max, excluded.temp_max),
        sbp_n = coalesce(h.sbp_n + excluded.sbp_n, h.sbp_n, excluded.sbp_n),
        sbp_min = least(h.sbp_min, excluded.sbp_min),
        sbp_sum = coalesce(h.sbp_sum + excluded.sbp_sum, h.sbp_sum, excluded.sbp_sum),
        sbp_max = greatest(h.sbp_max, excluded.sbp_max),
        dbp_n = coalesce(h.dbp_n + excluded.dbp_n, h.dbp_n, excluded.dbp_n),
        dbp_min = least(h.dbp_min, excluded.dbp_min),
        dbp_sum = coalesce(h.dbp_sum + excluded.dbp_sum, h.dbp_sum, excluded.dbp_sum),
        dbp_max = greatest(h.dbp_max, excluded.dbp_max),
        glucose_n = coalesce(h.glucose_n + excluded.glucose_n, h.glucose_n, excluded.glucose_n),
        glucose_min = least(h.glucose_min, excluded.glucose_min),
        glucose_sum = coalesce(h.glucose_sum + excluded.glucose_sum, h.glucose_sum, excluded.glucose_sum),
        glucose_max = greatest(h.glucose_max, excluded.glucose_max),
        worn_n = coalesce(h.worn_n + excluded.worn_n, h.worn_n, excluded.worn_n),
        worn_true = coalesce(h.worn_true + excluded.worn_true, h.worn_true, excluded.worn_true),
        steps_n = coalesce(h.steps_n + excluded.steps_n, h.steps_n, excluded.steps_n),
        steps_min = least(h.steps_min, excluded.steps_min),
        steps_max = greatest(h.steps_max, excluded.steps_max)
)
SELECT coalesce(sum(n), 0)::bigint FROM came

-- name: roll_up_activity
WITH came AS MATERIALIZED (
    SELECT device_id, (ts AT TIME ZONE 'Asia/Shanghai')::date AS day, count(*)::integer AS n,
           nullif(count(motion), 0)::integer AS motion_n, sum(motion::integer)::integer AS motion_true,
           min(ts) FILTER (WHERE motion) AS first_motion_at, max(ts) FILTER (WHERE motion) AS last_motion_at,
           nullif(count(steps), 0)::integer AS steps_n, min(steps) AS steps_min, sum(steps) AS steps_sum,
           max(steps) AS steps_max
    FROM activity WHERE batch > %(after)s AND batch <= %(upto)s
    GROUP BY 1, 2
    ORDER BY 1, 2
), added AS (
    INSERT INTO activity_daily AS d (
        device_id, day, n, motion_n, motion_true, first_motion_at, last_motion_at,
        steps_n, steps_min, steps_sum, steps_max)
    SELECT * FROM came
    ON CONFLICT (device_id, day) DO UPDATE SET
        n = d.n + excluded.n,
        motion_n = coalesce(d.motion_n + excluded.motion_n, d.motion_n, excluded.motion_n),
        motion_true = coalesce(d.motion_true + excluded.motion_true, d.motion_true, excluded.motion_true),
        first_motion_at = least(d.first_motion_at, excluded.first_motion_at),
        last_motion_at = greatest(d.last_motion_at, excluded.last_motion_at),
        steps_n = coalesce(d.steps_n + excluded.steps_n, d.steps_n, excluded.steps_n),
        steps_min = least(d.steps_min, excluded.steps_min),
        steps_sum = coalesce(d.steps_sum + excluded.steps_sum, d.steps_sum, excluded.steps_sum),
        steps_max = greatest(d.steps_max, excluded.steps_max)
)
SELECT coalesce(sum(n), 0)::bigint FROM came

-- name: advance
UPDATE rolled_up SET
    batch = %(upto)s,
    until = coalesce(%(until)s, until),
    brought = %(brought)s::jsonb || (
        SELECT coalesce(jsonb_object_agg(key, value::bigint + coalesce((%(brought)s::jsonb ->> key)::bigint, 0)), '{}')
        FROM jsonb_each_text(brought))

-- name: held
-- Rows of later batches stay: of these the restore needs those after the checkpoint, the roll-ups the others.
SELECT least(r.batch, coalesce((SELECT min(batch) FROM engine_checkpoints), 0)) FROM rolled_up r

-- name: sizes
-- The pieces of a divided table, on either edition; rows as the planner estimates them, null where it cannot.
SELECT n.nspname, c.relname, pg_relation_size(c.oid), pg_total_relation_size(c.oid),
       CASE WHEN pg_relation_size(c.oid) = 0 THEN 0
            WHEN c.reltuples >= 0 AND c.relpages > 0
            THEN c.reltuples::float8 * pg_relation_size(c.oid) / (c.relpages::float8 * current_setting('block_size')::integer)
       END
FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE h.inhparent = %(table)s::regclass

-- name: lag
-- How far the roll-ups are behind the line, and when it was last maintained.
SELECT r.batch, r.until, coalesce(l.batch, r.batch) - r.batch, l.now,
       (SELECT max(maintained_at) FROM maintenance), pg_database_size(current_database())
FROM rolled_up r LEFT JOIN LATERAL (SELECT batch, now FROM ingest_ledger ORDER BY batch DESC LIMIT 1) l ON true

-- name: measures
SELECT pg_database_size(current_database()),
       (SELECT extract(epoch FROM max(maintained_at))::float8 FROM maintenance)
