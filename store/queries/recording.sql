-- What a recording holds of the alarms: their rows, and where in the engine's decisions people had closed them.
-- Alarms of the line itself (session_lost, messages_dropped) are left out: no rule decides them.

-- name: snapshot
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY

-- name: marks
-- Whatever is newer belongs to the recording.
SELECT (SELECT coalesce(max(alarm_id), 0) FROM alarms), (SELECT coalesce(max(log_id), 0) FROM alarm_log)

-- name: open
SELECT alarm_id FROM alarms WHERE closed_at IS NULL AND kind <> ALL(%(own)s) ORDER BY alarm_id

-- name: newest_batch
SELECT coalesce(max(batch), 0) FROM ingest_ledger

-- name: alarms
SELECT a.alarm_id, a.device_id, d.device, a.kind, a.class, a.severity, a.quality, a.condition, a.count, a.raised_at,
       a.last_at, a.cleared_at, a.suppressed, a.rule, a.detail
FROM alarms a JOIN devices d USING (device_id)
WHERE (a.alarm_id > %(alarm_id)s OR a.alarm_id = ANY(%(open)s)) AND a.kind <> ALL(%(own)s)
ORDER BY a.alarm_id

-- name: closed_by_people
-- How many decisions of the recording had changed an alarm when somebody closed it; none changes it after that.
SELECT a.alarm_id, (
    SELECT count(*) FROM alarm_log l
    WHERE l.alarm_id = a.alarm_id AND l.log_id > %(log_id)s
      AND l.verb IN ('raised', 'repeated', 'stepped', 'suppressed', 'unsuppressed', 'cleared'))
FROM alarms a
WHERE (a.alarm_id > %(alarm_id)s OR a.alarm_id = ANY(%(open)s)) AND a.kind <> ALL(%(own)s)
  AND a.closed_at IS NOT NULL AND a.outcome <> 'cleared'
