-- name: list
-- Newest first.
SELECT dead_letter_id, received_at, topic, reason, detail, whole, payload_length, octet_length(payload) AS kept,
       coalesce(tries, 0) AS tries, redrive_id IS NOT NULL AS waiting
FROM dead_letters
WHERE /*chosen*/
ORDER BY received_at DESC, dead_letter_id DESC
LIMIT %(limit)s

-- name: by_reason
SELECT reason, count(*) AS letters, min(received_at) AS oldest, max(received_at) AS newest
FROM dead_letters
WHERE /*chosen*/
GROUP BY reason ORDER BY letters DESC, reason

-- name: show
SELECT dead_letter_id, received_at, topic, reason, detail, whole, payload_length, octet_length(payload) AS kept,
       coalesce(tries, 0) AS tries, redrive_id IS NOT NULL AS waiting, tried_at, batch, payload_sha256, payload
FROM dead_letters WHERE dead_letter_id = %(dead_letter_id)s

-- name: survey
-- What would come of a redrive and of a purge. A restore still reads whole letters of batches after the checkpoint.
SELECT count(*) AS found,
       count(*) FILTER (WHERE redrive_id IS NOT NULL) AS waiting,
       count(*) FILTER (WHERE payload_length <> octet_length(payload)) AS cut,
       count(*) FILTER (WHERE payload_length = octet_length(payload) AND NOT whole AND reason <> 'refused') AS parts,
       count(*) FILTER (WHERE whole AND batch > coalesce((SELECT min(batch) FROM engine_checkpoints), 0)) AS needed
FROM dead_letters
WHERE /*chosen*/

-- name: begin
INSERT INTO redrives DEFAULT VALUES RETURNING redrive_id

-- name: mark
-- Some at a time, oldest first, each looked at once: what is refused meanwhile is not marked again.
WITH chosen AS (
    SELECT received_at, dead_letter_id,
           redrive_id IS NULL AND payload_length = octet_length(payload) AND (whole OR reason = 'refused') AS fit
    FROM dead_letters
    WHERE /*chosen*/ AND (received_at, dead_letter_id) > (%(after_at)s::timestamptz, %(after_id)s::bigint)
    ORDER BY received_at, dead_letter_id
    LIMIT %(limit)s
), marked AS (
    UPDATE dead_letters d SET redrive_id = %(redrive_id)s
    FROM chosen s WHERE d.received_at = s.received_at AND d.dead_letter_id = s.dead_letter_id AND s.fit
        AND d.redrive_id IS NULL  -- also after the wait for another redrive that chose it
    RETURNING 1
), counted AS (
    UPDATE redrives SET marked = marked + (SELECT count(*) FROM marked) WHERE redrive_id = %(redrive_id)s
)
SELECT received_at, dead_letter_id FROM chosen ORDER BY received_at DESC, dead_letter_id DESC LIMIT 1

-- name: tell
SELECT pg_notify('carebell_redrive', '')

-- name: is_bridge_there
-- The one writer holds its lock from before its restore to its end.
SELECT EXISTS (
    SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
    WHERE d.datname = current_database() AND l.locktype = 'advisory' AND l.classid = 0 AND l.objid = 42019 AND l.granted
)

-- name: progress
SELECT marked, stored, partly, duplicate, refused,
       (SELECT count(*) FROM dead_letters d WHERE d.redrive_id = r.redrive_id) AS waiting
FROM redrives r WHERE redrive_id = %(redrive_id)s

-- name: waiting
-- The next letters to go down the line, in the order in which they were asked for and received.
SELECT dead_letter_id, redrive_id, batch, whole, received_at, topic, payload
FROM dead_letters WHERE redrive_id IS NOT NULL
ORDER BY redrive_id, received_at, dead_letter_id
LIMIT %(limit)s

-- name: settle
DELETE FROM dead_letters d USING unnest(%(received_at)s::timestamptz[], %(ids)s::bigint[]) AS k(received_at, id)
WHERE d.received_at = k.received_at AND d.dead_letter_id = k.id

-- name: keep
UPDATE dead_letters SET reason = %(reason)s, detail = %(detail)s, whole = whole AND %(whole)s,
    redrive_id = NULL, tries = coalesce(tries, 0) + 1, tried_at = %(now)s
WHERE received_at = %(received_at)s AND dead_letter_id = %(dead_letter_id)s

-- name: keep_as_it_is
UPDATE dead_letters SET redrive_id = NULL, tries = coalesce(tries, 0) + 1, tried_at = %(now)s
WHERE received_at = %(received_at)s AND dead_letter_id = %(dead_letter_id)s

-- name: count
UPDATE redrives SET stored = stored + %(stored)s, partly = partly + %(partly)s,
    duplicate = duplicate + %(duplicate)s, refused = refused + %(refused)s
WHERE redrive_id = %(redrive_id)s

-- name: heard
-- Which raises the log has already: the call was heard when it was received.
SELECT a.device_id, a.kind, l.at FROM alarms a JOIN alarm_log l USING (alarm_id)
WHERE a.device_id = ANY(%(device_ids)s) AND l.at = ANY(%(moments)s)
  AND l.actor = 'carebell' AND l.verb IN ('raised', 'repeated')

-- name: purge
-- Some at a time, oldest first. What a restore of the bridge still reads stays.
WITH chosen AS (
    SELECT received_at, dead_letter_id,
           whole AND batch > coalesce((SELECT min(batch) FROM engine_checkpoints), 0) AS needed
    FROM dead_letters
    WHERE /*chosen*/ AND (received_at, dead_letter_id) > (%(after_at)s::timestamptz, %(after_id)s::bigint)
    ORDER BY received_at, dead_letter_id
    LIMIT %(limit)s
), gone AS (
    DELETE FROM dead_letters d USING chosen s
    WHERE d.received_at = s.received_at AND d.dead_letter_id = s.dead_letter_id AND NOT s.needed
    RETURNING 1
)
SELECT received_at, dead_letter_id, (SELECT count(*) FROM gone) AS gone
FROM chosen ORDER BY received_at DESC, dead_letter_id DESC LIMIT 1
