-- What the panels of the boards ask, in Grafana's dialect: store/boards.py says what becomes of its macros and
-- variables. Only board_* views are read. Columns bear the names that duty staff read; kinds, severities and the
-- like come as they are stored and get their Chinese names in the panel, from schemas/alarms.py. Time is cut by
-- date_bin and not by Grafana's macro: it is four times as fast, and its days begin at midnight in Shanghai.
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
SELECT severity AS "级别", kind AS "告警", device AS "设备", person AS "老人", region_name AS "地区",
       address AS "住址", contacts AS "联系顺序", raised_at AS "发生时间",
       greatest(extract(epoch FROM now() - raised_at), 0)::float8 AS "已过", count AS "次数", condition AS "现状",
       quality AS "报文", handling AS "处置", coalesce(dispatched_to, acknowledged_by, '') AS "处置人"
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
SELECT raised_at AS "发生时间", severity AS "级别", kind AS "告警", count AS "次数", person AS "老人",
       condition AS "现状", quality AS "报文", handling AS "处置", coalesce(closed_by, acknowledged_by, '') AS "处置人",
       outcome AS "结果", cleared_at AS "恢复时间", closed_at AS "关闭时间"
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
ORDER BY raised_at DESC, alarm_id DESC
LIMIT 100

-- name: fleet_low_battery
SELECT device AS "设备", model AS "型号", person AS "老人", region_name AS "地区", address AS "住址",
       raised_at AS "报警时间", battery AS "电量", heartbeat_at AS "最后心跳", handling AS "处置"
FROM board_open_alarms
WHERE kind = 'low_battery'
ORDER BY raised_at DESC, alarm_id DESC
LIMIT 100

-- name: fleet_raised
SELECT date_bin('$__interval', raised_at, '2000-01-01 00:00+08') AS "time",
       count(*) FILTER (WHERE kind = 'device_silent') AS "失联",
       count(*) FILTER (WHERE kind = 'low_battery') AS "电量低"
FROM board_alarms
WHERE $__timeFilter(raised_at) AND kind IN ('device_silent', 'low_battery') AND NOT drill
GROUP BY 1
ORDER BY 1
