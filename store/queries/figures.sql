-- The figures of a month: over alarms raised from `since` up to but without `until`, by one range of the index on
-- raised_at. docs/figures.md defines each figure.

-- name: bound_session
-- One sort in memory is worth several on disk, and what is asked once a day need not be compiled.
SELECT set_config('work_mem', '64MB', true), set_config('jit', 'off', true)

-- name: figures
-- Each row is a part's name and its content as JSON: one snapshot and one pass, whatever the parts ask of it.
-- answering: one row for each block (life, health, technical, drill) as a whole, and again by third of the day (0 is the
-- night), region, operator, and kind with model; `level` tells which. What is merged or suppressed counts as that and as
-- nothing else: the rest is staff's `own`.
-- window: alarms that came within 10 minutes. staff: alarms by the hour of their acknowledgement, and by who acknowledged.
-- Shanghai is 8 hours ahead all the year, which needs no zone files.
WITH alarm AS MATERIALIZED (
    SELECT CASE WHEN a.drill THEN 'drill' ELSE a.class END AS block, a.raised_at, a.acknowledged_at,
           floor(date_part('hour', a.raised_at AT TIME ZONE interval '8 hours') / 8)::integer AS third,
           left(coalesce(d.region, ''), 6) AS region, coalesce(a.acknowledged_by, '') AS operator, a.kind, d.model,
           coalesce(a.outcome = 'merged', false) AS merged,
           a.suppressed IS NULL AND a.outcome IS DISTINCT FROM 'merged' AS own,
           a.outcome, a.closed_at IS NOT NULL AS closed, a.reopened > 0 AS reopened,
           coalesce(a.closed_at, %(at)s) - a.raised_at > interval '24 hours' AS stale,
           CASE WHEN a.acknowledged_at < a.raised_at THEN 0 ELSE date_part('epoch', a.acknowledged_at - a.raised_at) END
               AS answering,
           a.dispatched_at IS NOT NULL AS dispatched, date_part('epoch', a.arrived_at - a.raised_at) AS arriving,
           coalesce(l.allowed, %(arrival)s) AS allowed
    FROM alarms a
    JOIN devices d USING (device_id)
    LEFT JOIN LATERAL (
        SELECT allowed FROM unnest(%(prefixes)s::text[], %(limits)s::float8[]) AS given(prefix, allowed)
        WHERE a.dispatched_at IS NOT NULL AND starts_with(d.region, prefix)
        ORDER BY length(prefix) DESC LIMIT 1
    ) AS l ON true
    WHERE a.raised_at >= %(since)s AND a.raised_at < %(until)s
      AND (%(within)s = '' OR starts_with(d.region, %(within)s))
)
SELECT 'answering' AS part, to_jsonb(found) AS content
FROM (
    SELECT block, grouping(third, region, operator, kind) AS level, third, region, operator, kind, model,
           count(*) AS raised,
           count(*) FILTER (WHERE merged) AS merged,
           count(*) FILTER (WHERE NOT own AND NOT merged) AS suppressed,
           count(*) FILTER (WHERE own) AS alarms,
           count(*) FILTER (WHERE own AND answering IS NULL AND outcome = 'cleared') AS cleared_alone,
           count(*) FILTER (WHERE own AND answering IS NOT NULL) AS answered,
           count(*) FILTER (WHERE own AND answering <= 60) AS within_60,
           count(*) FILTER (WHERE own AND answering <= 180) AS within_180,
           percentile_disc(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY answering) FILTER (WHERE own) AS percentiles,
           count(*) FILTER (WHERE own AND dispatched) AS dispatched,
           count(*) FILTER (WHERE own AND dispatched AND arriving IS NOT NULL) AS arrived,
           count(*) FILTER (WHERE own AND dispatched AND arriving <= allowed) AS arrived_in_time,
           count(*) FILTER (WHERE own AND closed) AS closed,
           count(*) FILTER (WHERE own AND outcome = 'medical') AS medical,
           count(*) FILTER (WHERE own AND outcome = 'fall') AS fall,
           count(*) FILTER (WHERE own AND outcome = 'other_help') AS other_help,
           count(*) FILTER (WHERE own AND outcome = 'check_in') AS check_in,
           count(*) FILTER (WHERE own AND outcome = 'accidental') AS accidental,
           count(*) FILTER (WHERE own AND outcome = 'test') AS test,
           count(*) FILTER (WHERE own AND outcome = 'equipment_fault') AS equipment_fault,
           count(*) FILTER (WHERE own AND outcome = 'no_contact') AS no_contact,
           count(*) FILTER (WHERE own AND outcome = 'cleared') AS cleared,
           count(*) FILTER (WHERE own AND outcome = 'drill') AS drill,
           count(*) FILTER (WHERE own AND reopened) AS reopened,
           count(*) FILTER (WHERE own AND stale) AS stale,
           count(*) FILTER (WHERE own AND kind = 'chattering') AS chattering
    FROM alarm
    GROUP BY GROUPING SETS ((block), (block, third), (block, region), (block, operator), (block, kind, model))
) AS found
UNION ALL
SELECT 'window', to_jsonb(found)
FROM (
    SELECT date_part('epoch', date_bin('10 minutes', raised_at, '2000-01-01 00:00+08'))::bigint AS began, count(*) AS alarms
    FROM alarm WHERE own AND block <> 'drill' GROUP BY 1
) AS found
UNION ALL
SELECT 'staff', to_jsonb(found)
FROM (
    SELECT hour, operator, count(*) AS alarms, count(DISTINCT operator) AS operators, count(DISTINCT hour) AS hours
    FROM (
        SELECT date_part('epoch', date_bin('1 hour', acknowledged_at, '2000-01-01 00:00+08'))::bigint AS hour, operator
        FROM alarm WHERE own AND block <> 'drill' AND answering IS NOT NULL
    ) AS work
    GROUP BY GROUPING SETS ((hour), (operator))
) AS found

-- name: region_names
SELECT region, name FROM regions WHERE region = ANY(%(regions)s) AND name <> ''
