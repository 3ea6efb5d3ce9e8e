-- What the panels of the boards ask, in Grafana's dialect: store/boards.py says what becomes of its macros and
-- variables. Only board_* views are read. Columns bear the names that duty staff read; kinds, severities and the
-- like come as they are stored and get their Chinese names in the panel, from schemas/alarms.py. Time is cut by
-- date_bin and not by Grafana's macro: it is four times as fast, and its days begin at midnight in Shanghai.
-- A list of what is open is put in order by its age and not by raised_at: the index on that is full of what is closed.
-- What happened is counted without drills; what stands before staff now is shown and counted with them, for a number
-- that did not fit the list would tell one (docs/adr/018).

-- name: duty_life
SELECT count(*) AS "未关闭的生命告警" FROM board_open_alarms WHERE class = 'life'

-- name: duty_others
SELECT count(*) FILTER (WHERE handling = 'unacknowledged') AS "未确认",
       count(*) FILTER (WHERE class = 'health') AS "健康",
       count(*) FILTER (WHERE class = 'technical') AS "技术"
FROM board_open_alarms

-- name: duty_oldest
-- Seconds; 0 if nobody waits.
SELECT coalesce(greatest(extract(epoch FROM now() - min(raised_at)), 0), 0)::float8 AS "最久未确认"
FROM board_open_alarms
WHERE class = 'life' AND handling = 'unacknowledged'

-- name: duty_ages
SELECT severity AS "级别",
       count(*) FILTER (WHERE raised_at > now() - interval '1 minute') AS "1 分钟内",
       count(*) FILTER (WHERE raised_at <= now() - interval '1 minute'
                          AND raised_at > now() - interval '10 minutes') AS "1 至 10 分钟",
       count(*) FILTER (WHERE raised_at <= now() - interval '10 minutes'
                          AND raised_at > now() - interval '1 hour') AS "10 至 60 分钟",
       count(*) FILTER (WHERE raised_at <= now() - interval '1 hour'
                          AND raised_at > now() - interval '24 hours') AS "1 至 24 小时",
       count(*) FILTER (WHERE raised_at <= now() - interval '24 hours') AS "超过 24 小时"
FROM board_open_alarms
GROUP BY severity
ORDER BY array_position(ARRAY['critical', 'high', 'medium', 'low'], severity)

-- name: duty_alarms
-- Life first and there the newest first; then the severest, and there the newest.
SELECT alarm_id AS "编号", severity AS "级别", kind AS "告警", device AS "设备", person AS "老人",
       region_name AS "地区", address AS "住址", contacts AS "联系顺序", raised_at AS "发生时间",
       greatest(extract(epoch FROM now() - raised_at), 0)::float8 AS "已过", count AS "次数", condition AS "现状",
       quality AS "报文", handling AS "处置", coalesce(dispatched_to, assigned_to, acknowledged_by, '') AS "处置人"
FROM board_open_alarms
ORDER BY class <> 'life',
         CASE WHEN class <> 'life' THEN array_position(ARRAY['critical', 'high', 'medium', 'low'], severity) END,
         raised_at DESC, alarm_id DESC
LIMIT 200

-- name: duty_raised
SELECT date_bin('$__interval', raised_at, '2000-01-01 00:00+08') AS "time",
       count(*) FILTER (WHERE class = 'life') AS "生命",
       count(*) FILTER (WHERE class = 'health') AS "健康",
       count(*) FILTER (WHERE class = 'technical') AS "技术"
FROM board_alarms
WHERE $__timeFilter(raised_at) AND suppressed IS NULL AND NOT drill
GROUP BY 1
ORDER BY 1

-- name: duty_drills
-- Those that are over: while one lasts nothing tells it from an emergency.
SELECT began_at AS "开始", ends_at AS "结束", region_name AS "地区", calls AS "呼叫", alarms AS "告警",
       acknowledged AS "已确认", seconds AS "平均确认用时", longest_seconds AS "最长确认用时", closed AS "人工关闭"
FROM board_drills
WHERE ends_at <= now()
ORDER BY ends_at DESC
LIMIT 20

-- name: device_choices
-- By the beginning of the device's name, or of the person's.
SELECT device AS __value, device || ' ' || person AS __text
FROM board_devices
WHERE device LIKE ${__searchFilter:sqlstring} OR person LIKE ${__searchFilter:sqlstring}
ORDER BY device
LIMIT 100

-- name: device_card
SELECT device AS "设备", model AS "型号", person AS "老人", region_name AS "地区", address AS "住址",
       contacts AS "联系顺序", silent AS "失联", low_battery AS "电量低", heard_at AS "最后上报",
       registered_at AS "登记时间"
FROM board_devices
WHERE device = ${device:sqlstring}

-- name: device_heart
SELECT date_bin('$__interval', ts, '2000-01-01 00:00+08') AS "time",
       min(hr_min) AS "最低", sum(hr_sum) / sum(hr_n) AS "平均", max(hr_max) AS "最高"
FROM board_vitals
WHERE device = ${device:sqlstring} AND $__timeFilter(ts)
  AND hourly = ($__timeTo()::timestamptz - $__timeFrom()::timestamptz > interval '8 days'
                OR $__timeFrom()::timestamptz < now() - interval '40 days')
GROUP BY 1
HAVING sum(hr_n) > 0
ORDER BY 1

-- name: device_oxygen
SELECT date_bin('$__interval', ts, '2000-01-01 00:00+08') AS "time",
       min(spo2_min) AS "最低", sum(spo2_sum) / sum(spo2_n) AS "平均"
FROM board_vitals
WHERE device = ${device:sqlstring} AND $__timeFilter(ts)
  AND hourly = ($__timeTo()::timestamptz - $__timeFrom()::timestamptz > interval '8 days'
                OR $__timeFrom()::timestamptz < now() - interval '40 days')
GROUP BY 1
HAVING sum(spo2_n) > 0
ORDER BY 1

-- name: device_pressure
SELECT date_bin('$__interval', ts, '2000-01-01 00:00+08') AS "time",
       sum(sbp_sum) / nullif(sum(sbp_n), 0) AS "收缩压", sum(dbp_sum) / nullif(sum(dbp_n), 0) AS "舒张压"
FROM board_vitals
WHERE device = ${device:sqlstring} AND $__timeFilter(ts)
  AND hourly = ($__timeTo()::timestamptz - $__timeFrom()::timestamptz > interval '8 days'
                OR $__timeFrom()::timestamptz < now() - interval '40 days')
GROUP BY 1
HAVING sum(sbp_n) > 0 OR sum(dbp_n) > 0
ORDER BY 1

-- name: device_temperature
SELECT date_bin('$__interval', ts, '2000-01-01 00:00+08') AS "time",
       sum(temp_sum) / sum(temp_n) AS "平均", max(temp_max) AS "最高"
FROM board_vitals
WHERE device = ${device:sqlstring} AND $__timeFilter(ts)
  AND hourly = ($__timeTo()::timestamptz - $__timeFrom()::timestamptz > interval '8 days'
                OR $__timeFrom()::timestamptz < now() - interval '40 days')
GROUP BY 1
HAVING sum(temp_n) > 0
ORDER BY 1

-- name: device_glucose
SELECT date_bin('$__interval', ts, '2000-01-01 00:00+08') AS "time", sum(glucose_sum) / sum(glucose_n) AS "血糖"
FROM board_vitals
WHERE device = ${device:sqlstring} AND $__timeFilter(ts)
  AND hourly = ($__timeTo()::timestamptz - $__timeFrom()::timestamptz > interval '8 days'
                OR $__timeFrom()::timestamptz < now() - interval '40 days')
GROUP BY 1
HAVING sum(glucose_n) > 0
ORDER BY 1

-- name: device_battery
SELECT date_bin('$__interval', ts, '2000-01-01 00:00+08') AS "time", min(battery) AS "电量", avg(rssi) AS "信号"
FROM board_heartbeats
WHERE device = ${device:sqlstring} AND $__timeFilter(ts)
GROUP BY 1
ORDER BY 1

-- name: device_alarms
SELECT alarm_id AS "编号", raised_at AS "发生时间", severity AS "级别", kind AS "告警", count AS "次数",
       person AS "老人", condition AS "现状", quality AS "报文", handling AS "处置",
       coalesce(closed_by, acknowledged_by, '') AS "处置人", outcome AS "结果", cleared_at AS "恢复时间", closed_at AS "关闭时间"
FROM board_alarms
WHERE device = ${device:sqlstring} AND ($__timeFilter(raised_at) OR closed_at IS NULL)
ORDER BY raised_at DESC, alarm_id DESC
LIMIT 200

-- name: device_events
SELECT ts AS "设备时间", received_at AS "接收时间", event AS "事件", time_quality AS "时间质量"
FROM board_events
WHERE device = ${device:sqlstring} AND $__timeFilter(ts)
ORDER BY ts DESC
LIMIT 200

-- name: device_people
SELECT person AS "老人", address AS "住址", since AS "开始", until AS "结束"
FROM board_assignments
WHERE device = ${device:sqlstring}
ORDER BY since DESC

-- name: fleet_counts
-- Strangers, which registered themselves, have no interval to be held to: they are counted apart.
SELECT count(*) FILTER (WHERE NOT self_registered) AS "在册设备",
       count(*) FILTER (WHERE NOT self_registered AND silent) AS "失联",
       count(*) FILTER (WHERE low_battery) AS "电量低",
       count(*) FILTER (WHERE self_registered) AS "未登记"
FROM board_devices
WHERE NOT drill

-- name: fleet_online
SELECT (count(*) FILTER (WHERE NOT silent))::float8 / nullif(count(*), 0) AS "在线率"
FROM board_devices
WHERE NOT self_registered AND NOT drill

-- name: fleet_regions
-- By street or town; devices that know only their county stand under it.
SELECT coalesce(nullif(r.name, ''), nullif(f.street, ''), '未填地区') AS "地区", f.devices AS "在册设备",
       f.silent AS "失联", f.low_battery AS "电量低", (f.devices - f.silent)::float8 / f.devices AS "在线率"
FROM (
    SELECT left(region, 9) AS street, count(*) AS devices, count(*) FILTER (WHERE silent) AS silent,
           count(*) FILTER (WHERE low_battery) AS low_battery
    FROM board_devices
    WHERE NOT self_registered AND NOT drill
    GROUP BY 1
) AS f
LEFT JOIN board_regions r ON r.region = f.street
ORDER BY "在线率", "在册设备" DESC

-- name: fleet_silent
SELECT device AS "设备", model AS "型号", person AS "老人", region_name AS "地区", address AS "住址",
       raised_at AS "失联时间", greatest(extract(epoch FROM now() - raised_at), 0)::float8 AS "已失联",
       heartbeat_at AS "最后心跳", battery AS "电量", handling AS "处置"
FROM board_open_alarms
WHERE kind = 'device_silent'
ORDER BY now() - raised_at, alarm_id DESC
LIMIT 100

-- name: fleet_low_battery
SELECT device AS "设备", model AS "型号", person AS "老人", region_name AS "地区", address AS "住址",
       raised_at AS "报警时间", battery AS "电量", heartbeat_at AS "最后心跳", handling AS "处置"
FROM board_open_alarms
WHERE kind = 'low_battery'
ORDER BY now() - raised_at, alarm_id DESC
LIMIT 100

-- name: fleet_raised
SELECT date_bin('$__interval', raised_at, '2000-01-01 00:00+08') AS "time",
       count(*) FILTER (WHERE kind = 'device_silent') AS "失联",
       count(*) FILTER (WHERE kind = 'low_battery') AS "电量低"
FROM board_alarms
WHERE $__timeFilter(raised_at) AND kind IN ('device_silent', 'low_battery') AND NOT drill
GROUP BY 1
ORDER BY 1

-- name: region_now
SELECT count(*) FILTER (WHERE class = 'life') AS "生命", count(*) FILTER (WHERE class = 'health') AS "健康",
       count(*) FILTER (WHERE class = 'technical') AS "技术",
       count(*) FILTER (WHERE handling = 'unacknowledged') AS "未确认",
       (SELECT count(*) FROM board_outages) AS "中断区域",
       (SELECT coalesce(sum(suppressed), 0) FROM board_outages)::bigint AS "因中断而不列出",
       (SELECT count(*) FROM board_shelved_alarms) AS "搁置"
FROM board_open_alarms

-- name: region_oldest
-- Seconds, of any class; 0 if nobody waits.
SELECT coalesce(greatest(extract(epoch FROM now() - min(raised_at)), 0), 0)::float8 AS "最久未确认"
FROM board_open_alarms
WHERE handling = 'unacknowledged'

-- name: region_map
-- Regions that have coordinates, with all that is open below them; and calls for help that said where they were.
SELECT coalesce(nullif(r.name, ''), r.region) AS "地点", r.lat AS latitude, r.lon AS longitude,
       coalesce(o.life, 0) AS "生命", coalesce(o.alarms, 0) AS "未关闭"
FROM board_regions r
LEFT JOIN (
    SELECT left(region, digits) AS region, (count(*) FILTER (WHERE class = 'life'))::integer AS life,
           count(*)::integer AS alarms
    FROM board_open_alarms CROSS JOIN generate_series(6, 12, 3) AS digits
    WHERE length(region) >= digits
    GROUP BY 1
) AS o USING (region)
WHERE r.lat IS NOT NULL
UNION ALL
SELECT device, lat, lon, 1, 1 FROM board_calls
LIMIT 1000

-- name: region_list
-- By street or town; what is known by its county only stands under that.
SELECT coalesce(nullif(r.name, ''), nullif(f.street, ''), '未填地区') AS "地区",
       sum(f.life)::integer AS "生命", sum(f.health)::integer AS "健康", sum(f.technical)::integer AS "技术",
       sum(f.waiting)::integer AS "未确认",
       greatest(extract(epoch FROM now() - min(f.oldest)), 0)::float8 AS "最久未确认",
       sum(f.outages)::integer AS "中断", sum(f.shelved)::integer AS "搁置", sum(f.devices)::integer AS "在册设备",
       sum(f.silent)::integer AS "失联", sum(f.silent)::float8 / nullif(sum(f.devices), 0) AS "失联率"
FROM (
    SELECT left(region, 9) AS street, count(*) FILTER (WHERE class = 'life') AS life,
           count(*) FILTER (WHERE class = 'health') AS health, count(*) FILTER (WHERE class = 'technical') AS technical,
           count(*) FILTER (WHERE handling = 'unacknowledged') AS waiting,
           min(raised_at) FILTER (WHERE handling = 'unacknowledged') AS oldest,
           0 AS outages, 0 AS shelved, 0 AS devices, 0 AS silent
    FROM board_open_alarms GROUP BY 1
    UNION ALL
    SELECT left(region, 9), 0, 0, 0, 0, NULL, 0, 0, count(*), count(*) FILTER (WHERE silent)
    FROM board_devices WHERE NOT self_registered AND NOT drill GROUP BY 1
    UNION ALL
    SELECT CASE WHEN area ~ '^[0-9]+$' THEN left(area, 9) ELSE '' END, 0, 0, 0, 0, NULL, count(*), 0, 0, 0
    FROM board_outages GROUP BY 1
    UNION ALL
    SELECT left(region, 9), 0, 0, 0, 0, NULL, 0, count(*), 0, 0 FROM board_shelved_alarms GROUP BY 1
) AS f
LEFT JOIN board_regions r ON r.region = f.street
GROUP BY f.street, r.name
ORDER BY sum(f.life) DESC, sum(f.outages) DESC, sum(f.waiting) DESC, f.street
LIMIT 500

-- name: region_outages
SELECT alarm_id AS "编号",
       coalesce(nullif(region_name, ''), replace(replace(area, 'gateway:', '网关 '), 'broker', '整个平台')) AS "区域",
       severity AS "级别", raised_at AS "发生时间", greatest(extract(epoch FROM now() - raised_at), 0)::float8 AS "已过",
       suppressed AS "因此不列出", handling AS "处置", coalesce(dispatched_to, acknowledged_by, '') AS "处置人"
FROM board_outages
ORDER BY raised_at
LIMIT 200

-- name: region_waiting
SELECT alarm_id AS "编号", severity AS "级别", kind AS "告警", device AS "设备", region_name AS "地区",
       raised_at AS "发生时间", greatest(extract(epoch FROM now() - raised_at), 0)::float8 AS "已过"
FROM board_open_alarms
WHERE handling = 'unacknowledged'
ORDER BY now() - raised_at DESC, alarm_id
LIMIT 100

-- name: quality_shares
-- Of calls for help that waited for staff, and on site of those to which somebody was sent: what is not done yet is not
-- done in time. Needless ones are of those that people closed. docs/figures.md says the same.
SELECT (count(*) FILTER (WHERE class = 'life' AND answer_seconds <= 60))::float8
           / nullif(count(*) FILTER (WHERE class = 'life' AND waited), 0) AS "60 秒内接",
       (count(*) FILTER (WHERE class = 'life' AND answer_seconds <= 180))::float8
           / nullif(count(*) FILTER (WHERE class = 'life' AND waited), 0) AS "180 秒内接",
       (count(*) FILTER (WHERE class = 'life' AND dispatched AND arrival_seconds <= 600))::float8
           / nullif(count(*) FILTER (WHERE class = 'life' AND dispatched), 0) AS "10 分钟内到场",
       (count(*) FILTER (WHERE class = 'life' AND dispatched AND arrival_seconds <= 2400))::float8
           / nullif(count(*) FILTER (WHERE class = 'life' AND dispatched), 0) AS "40 分钟内到场",
       (count(*) FILTER (WHERE class = 'life' AND needless))::float8
           / nullif(count(*) FILTER (WHERE class = 'life' AND outcome <> 'cleared'), 0) AS "误报"
FROM board_judged_alarms
WHERE $__timeFilter(raised_at)

-- name: quality_unanswered
SELECT count(*) AS "至今未接的呼叫" FROM board_judged_alarms
WHERE $__timeFilter(raised_at) AND class = 'life' AND acknowledged_at IS NULL AND closed_at IS NULL

-- name: quality_answered
-- By day in Shanghai, with the targets beside it.
SELECT date_bin('1 day', raised_at, '2000-01-01 00:00+08') AS "time",
       (count(*) FILTER (WHERE answer_seconds <= 60))::float8 / count(*) AS "60 秒内", 0.975::float8 AS "目标 97.5 %",
       (count(*) FILTER (WHERE answer_seconds <= 180))::float8 / count(*) AS "180 秒内", 0.99::float8 AS "目标 99 %"
FROM board_judged_alarms
WHERE $__timeFilter(raised_at) AND class = 'life' AND waited
GROUP BY 1
ORDER BY 1

-- name: quality_arrived
-- By day, of calls for help to which somebody was sent.
SELECT date_bin('1 day', raised_at, '2000-01-01 00:00+08') AS "time",
       (count(*) FILTER (WHERE arrival_seconds <= 600))::float8 / count(*) AS "10 分钟内",
       (count(*) FILTER (WHERE arrival_seconds <= 2400))::float8 / count(*) AS "40 分钟内"
FROM board_judged_alarms
WHERE $__timeFilter(raised_at) AND class = 'life' AND dispatched
GROUP BY 1
ORDER BY 1

-- name: quality_outcomes
-- What people closed: what ended by itself says nothing.
SELECT outcome AS "结果", count(*) FILTER (WHERE class = 'life') AS "生命", count(*) FILTER (WHERE class = 'health') AS "健康",
       count(*) FILTER (WHERE class = 'technical') AS "技术", count(*) AS "合计",
       count(*)::float8 / sum(count(*)) OVER () AS "占比"
FROM board_judged_alarms
WHERE $__timeFilter(raised_at) AND outcome <> 'cleared'
GROUP BY outcome
ORDER BY count(*) DESC, outcome

-- name: quality_models
SELECT coalesce(nullif(model, ''), '未填型号') AS "型号", kind AS "告警", count(*) AS "已关闭",
       count(*) FILTER (WHERE outcome = 'accidental') AS "误触", count(*) FILTER (WHERE outcome = 'test') AS "测试",
       count(*) FILTER (WHERE outcome = 'equipment_fault') AS "设备故障",
       (count(*) FILTER (WHERE needless))::float8 / count(*) AS "误报率"
FROM board_judged_alarms
WHERE $__timeFilter(raised_at) AND outcome <> 'cleared'
GROUP BY 1, kind
ORDER BY count(*) FILTER (WHERE needless) DESC, count(*) DESC, 1, kind
LIMIT 100

-- name: quality_load
-- Alarms that came within 10 minutes, for each operator who acknowledged any in the hour around; where nobody did, one.
-- A point stands for the worst 10 minutes in it.
SELECT date_bin(greatest(interval '$__interval', interval '10 minutes'), t.at, '2000-01-01 00:00+08') AS "time",
       max(t.alarms::float8 / greatest(h.operators, 1)) AS "每坐席 10 分钟告警", 1::float8 AS "平稳 1", 10::float8 AS "洪水 10"
FROM (
    SELECT date_bin('10 minutes', raised_at, '2000-01-01 00:00+08') AS at, count(*) AS alarms
    FROM board_judged_alarms WHERE $__timeFilter(raised_at) GROUP BY 1
) AS t
LEFT JOIN (
    SELECT date_bin('1 hour', acknowledged_at, '2000-01-01 00:00+08') AS hour, count(DISTINCT acknowledged_by) AS operators
    FROM board_judged_alarms WHERE $__timeFilter(raised_at) AND acknowledged_at IS NOT NULL GROUP BY 1
) AS h ON h.hour = date_bin('1 hour', t.at, '2000-01-01 00:00+08')
GROUP BY 1
ORDER BY 1

-- name: quality_operators
-- What each acknowledged, by 10 minutes of the hours in which they acknowledged anything. ISA-18.2: about 1 is steady,
-- more than 10 begin a flood, fewer than 5 end it, and 10 minutes with nothing end it too.
SELECT operator AS "坐席", sum(alarms)::integer AS "已接", (sum(seconds) / sum(alarms))::float8 AS "平均用时",
       sum(alarms)::float8 / (6 * count(DISTINCT date_bin('1 hour', at, '2000-01-01 00:00+08'))) AS "10 分钟平均",
       max(alarms)::integer AS "10 分钟最多", (10 * count(*) FILTER (WHERE flood))::integer AS "洪水分钟"
FROM (
    SELECT operator, at, alarms, seconds, coalesce(first_value(mark) OVER (PARTITION BY operator, piece ORDER BY at), 0) = 1 AS flood
    FROM (
        SELECT operator, at, alarms, seconds, mark, count(mark) OVER (PARTITION BY operator ORDER BY at) AS piece
        FROM (
            SELECT operator, at, alarms, seconds,
                   CASE WHEN alarms > 10 THEN 1
                        WHEN alarms < 5 OR at - lag(at) OVER (PARTITION BY operator ORDER BY at) > interval '10 minutes' THEN 0
                   END AS mark
            FROM (
                SELECT acknowledged_by AS operator, date_bin('10 minutes', acknowledged_at, '2000-01-01 00:00+08') AS at,
                       count(*) AS alarms, sum(answer_seconds) AS seconds
                FROM board_judged_alarms
                WHERE $__timeFilter(raised_at) AND acknowledged_at IS NOT NULL
                GROUP BY 1, 2
            ) AS worked
        ) AS marked
    ) AS cut
) AS judged
GROUP BY operator
ORDER BY sum(alarms) DESC, operator
LIMIT 100

-- name: quality_chattering
SELECT device AS "设备", coalesce(nullif(model, ''), '未填型号') AS "型号", kind AS "告警", sum(count)::integer AS "触发",
       count(*)::integer AS "告警数", max(count)::integer AS "单次最多"
FROM board_judged_alarms
WHERE $__timeFilter(raised_at)
GROUP BY 1, 2, 3
HAVING sum(count) > 1
ORDER BY sum(count) DESC, 1, 3
LIMIT 50

-- name: quality_stale
SELECT alarm_id AS "编号", severity AS "级别", kind AS "告警", device AS "设备", region_name AS "地区",
       raised_at AS "发生时间", greatest(extract(epoch FROM now() - raised_at), 0)::float8 AS "已过", handling AS "处置",
       coalesce(dispatched_to, assigned_to, acknowledged_by, '') AS "处置人"
FROM board_open_alarms
WHERE raised_at < now() - interval '24 hours'
ORDER BY now() - raised_at DESC, alarm_id
LIMIT 100

-- name: person_choices
-- By the beginning of the person's number, or of the name.
SELECT number AS __value, number || ' ' || name AS __text
FROM board_people
WHERE number LIKE ${__searchFilter:sqlstring} OR name LIKE ${__searchFilter:sqlstring}
ORDER BY number
LIMIT 100

-- name: person_card
SELECT number AS "编号", name AS "姓名", sex AS "性别", birth_year AS "出生年", care_level AS "护理等级", address AS "住址",
       contacts AS "联系顺序", open_alarms AS "未关闭告警"
FROM board_people
WHERE number = ${person:sqlstring}

-- name: person_heart
SELECT date_bin('$__interval', ts, '2000-01-01 00:00+08') AS "time",
       min(hr_min) AS "最低", sum(hr_sum) / sum(hr_n) AS "平均", max(hr_max) AS "最高"
FROM board_person_vitals
WHERE person_id = (SELECT person_id FROM board_people WHERE number = ${person:sqlstring}) AND $__timeFilter(ts)
  AND hourly = ($__timeTo()::timestamptz - $__timeFrom()::timestamptz > interval '8 days'
                OR $__timeFrom()::timestamptz < now() - interval '40 days')
GROUP BY 1
HAVING sum(hr_n) > 0
ORDER BY 1

-- name: person_oxygen
SELECT date_bin('$__interval', ts, '2000-01-01 00:00+08') AS "time",
       min(spo2_min) AS "最低", sum(spo2_sum) / sum(spo2_n) AS "平均"
FROM board_person_vitals
WHERE person_id = (SELECT person_id FROM board_people WHERE number = ${person:sqlstring}) AND $__timeFilter(ts)
  AND hourly = ($__timeTo()::timestamptz - $__timeFrom()::timestamptz > interval '8 days'
                OR $__timeFrom()::timestamptz < now() - interval '40 days')
GROUP BY 1
HAVING sum(spo2_n) > 0
ORDER BY 1

-- name: person_pressure
SELECT date_bin('$__interval', ts, '2000-01-01 00:00+08') AS "time",
       sum(sbp_sum) / nullif(sum(sbp_n), 0) AS "收缩压", sum(dbp_sum) / nullif(sum(dbp_n), 0) AS "舒张压"
FROM board_person_vitals
WHERE person_id = (SELECT person_id FROM board_people WHERE number = ${person:sqlstring}) AND $__timeFilter(ts)
  AND hourly = ($__timeTo()::timestamptz - $__timeFrom()::timestamptz > interval '8 days'
                OR $__timeFrom()::timestamptz < now() - interval '40 days')
GROUP BY 1
HAVING sum(sbp_n) > 0 OR sum(dbp_n) > 0
ORDER BY 1

-- name: person_temperature
SELECT date_bin('$__interval', ts, '2000-01-01 00:00+08') AS "time",
       sum(temp_sum) / sum(temp_n) AS "平均", max(temp_max) AS "最高"
FROM board_person_vitals
WHERE person_id = (SELECT person_id FROM board_people WHERE number = ${person:sqlstring}) AND $__timeFilter(ts)
  AND hourly = ($__timeTo()::timestamptz - $__timeFrom()::timestamptz > interval '8 days'
                OR $__timeFrom()::timestamptz < now() - interval '40 days')
GROUP BY 1
HAVING sum(temp_n) > 0
ORDER BY 1

-- name: person_glucose
SELECT date_bin('$__interval', ts, '2000-01-01 00:00+08') AS "time", sum(glucose_sum) / sum(glucose_n) AS "血糖"
FROM board_person_vitals
WHERE person_id = (SELECT person_id FROM board_people WHERE number = ${person:sqlstring}) AND $__timeFilter(ts)
  AND hourly = ($__timeTo()::timestamptz - $__timeFrom()::timestamptz > interval '8 days'
                OR $__timeFrom()::timestamptz < now() - interval '40 days')
GROUP BY 1
HAVING sum(glucose_n) > 0
ORDER BY 1

-- name: person_worn
-- Of the messages that say whether it is worn.
SELECT date_bin(greatest(interval '$__interval', interval '1 hour'), ts, '2000-01-01 00:00+08') AS "time",
       sum(worn_true)::float8 / sum(worn_n) AS "佩戴"
FROM board_person_vitals
WHERE person_id = (SELECT person_id FROM board_people WHERE number = ${person:sqlstring}) AND $__timeFilter(ts)
  AND hourly = ($__timeTo()::timestamptz - $__timeFrom()::timestamptz > interval '8 days'
                OR $__timeFrom()::timestamptz < now() - interval '40 days')
GROUP BY 1
HAVING sum(worn_n) > 0
ORDER BY 1

-- name: person_activity
-- Over a long time by day, for days outlive rows.
SELECT date_bin(CASE WHEN $__timeTo()::timestamptz - $__timeFrom()::timestamptz > interval '8 days'
                          OR $__timeFrom()::timestamptz < now() - interval '40 days'
                     THEN greatest(interval '$__interval', interval '1 day')
                     ELSE greatest(interval '$__interval', interval '1 hour') END,
                ts, '2000-01-01 00:00+08') AS "time",
       sum(motion_true)::integer AS "活动次数"
FROM board_person_activity
WHERE person_id = (SELECT person_id FROM board_people WHERE number = ${person:sqlstring}) AND $__timeFilter(ts)
  AND daily = ($__timeTo()::timestamptz - $__timeFrom()::timestamptz > interval '8 days'
               OR $__timeFrom()::timestamptz < now() - interval '40 days')
GROUP BY 1
HAVING sum(motion_n) > 0
ORDER BY 1

-- name: person_alarms
SELECT alarm_id AS "编号", raised_at AS "发生时间", severity AS "级别", kind AS "告警", device AS "设备", count AS "次数",
       condition AS "现状", handling AS "处置", coalesce(closed_by, acknowledged_by, '') AS "处置人", outcome AS "结果",
       acknowledged_at AS "确认时间", arrived_at AS "到场时间", closed_at AS "关闭时间"
FROM board_alarms
WHERE person_id = (SELECT person_id FROM board_people WHERE number = ${person:sqlstring})
  AND ($__timeFilter(raised_at) OR closed_at IS NULL)
ORDER BY raised_at DESC, alarm_id DESC
LIMIT 200

-- name: person_devices
SELECT a.device AS "设备", d.model AS "型号", d.silent AS "失联", d.low_battery AS "电量低", d.heard_at AS "最后上报",
       a.since AS "开始", a.until AS "结束"
FROM board_assignments a
LEFT JOIN board_devices d ON d.device = a.device
WHERE a.person_id = (SELECT person_id FROM board_people WHERE number = ${person:sqlstring})
ORDER BY a.since DESC
LIMIT 100

-- name: alert_life
-- Seconds that the oldest call for help waits; what Grafana alerts on takes no macro.
SELECT coalesce(greatest(extract(epoch FROM now() - min(raised_at)), 0), 0)::float8 AS "等待秒数"
FROM board_open_alarms
WHERE class = 'life' AND handling = 'unacknowledged'

-- name: alert_line
-- Seconds since a batch was stored; the line's own messages bring one every few seconds. Null: never.
SELECT extract(epoch FROM now() - max(at))::float8 AS "停顿秒数" FROM board_line

-- name: alert_silent
-- Of the devices in the registry; a single house is no share.
SELECT CASE WHEN count(*) FILTER (WHERE silent) >= 20
            THEN (count(*) FILTER (WHERE silent))::float8 / count(*) ELSE 0 END::float8 AS "失联率"
FROM board_devices
WHERE NOT self_registered AND NOT drill

-- name: alert_notices
-- Given up within a quarter of an hour, or tried in vain for 5 minutes.
SELECT ((SELECT count(*) FROM board_notices WHERE state = 'failed' AND ended_at > now() - interval '15 minutes')
        + (SELECT count(*) FROM board_notices
           WHERE state = 'waiting' AND attempts > 0 AND created_at < now() - interval '5 minutes'))::float8 AS "未送达通知"

-- name: alert_watchdog
-- 1 while Grafana, the database and the line work; anything else is silence, which is the alarm.
SELECT count(*)::float8 AS "运行" FROM board_line WHERE at > now() - interval '2 minutes'
