-- The feed of live changes: who is told numbers of alarms reads here what they are now.

-- name: listen
LISTEN carebell_alarms

-- name: changed_alarms
-- Those of the given alarms that stand on the open list now; the others have left it.
SELECT * FROM duty_alarms
WHERE alarm_id = ANY(%(alarm_ids)s::bigint[]) AND closed_at IS NULL AND suppressed IS NULL AND shelved_until IS NULL

-- name: changed_life_alarms
-- The same where so much has changed that only calls for help are told one by one.
SELECT * FROM duty_alarms
WHERE alarm_id = ANY(%(alarm_ids)s::bigint[]) AND closed_at IS NULL AND suppressed IS NULL AND shelved_until IS NULL
  AND class = 'life'
ORDER BY alarm_id DESC
LIMIT %(limit)s

-- name: newest_line
-- One step down the index: shows whether something changed of which nothing was told.
SELECT coalesce(max(log_id), 0) FROM alarm_log
