-- Escalation and notices. Time of steps is the installation's clock, which is given; time of delivery the server's.

-- name: take_up
-- What came before staff starts on its ladder. One that is on it goes on, unless it is before staff anew: then the
-- next round begins. A further call for help is looked at once, and begins a round where the last one is through.
WITH taken AS (
    DELETE FROM notify_due WHERE due_id IN (
        SELECT due_id FROM notify_due ORDER BY due_id LIMIT %(most)s FOR UPDATE SKIP LOCKED
    )
    RETURNING alarm_id, at, verb
), news AS (
    SELECT alarm_id, least(min(at), %(at)s) AS since,
           bool_or(verb IN ('unsuppressed', 'unshelved', 'reopened')) AS anew,
           bool_or(verb = 'repeated') AS repeated, bool_and(verb = 'repeated') AS only_repeated
    FROM taken GROUP BY alarm_id
), told AS (
    SELECT n.*, a.class = 'life' AS life,
           coalesce((SELECT max(round) FROM notices t WHERE t.alarm_id = n.alarm_id), 0) AS rounds
    FROM news n JOIN alarms a USING (alarm_id)
    WHERE a.suppressed IS NULL
), begun AS (
    -- One statement for both: a row that another desk is just looking at is waited for, and made anew if it goes.
    INSERT INTO escalations AS e (alarm_id, round, since, next_at)
    SELECT alarm_id, rounds + 1, since, since FROM told
    WHERE rounds = 0 OR life OR NOT only_repeated
    ORDER BY alarm_id
    ON CONFLICT (alarm_id) DO UPDATE SET
        round = CASE WHEN (SELECT t.anew FROM told t WHERE t.alarm_id = e.alarm_id) THEN e.round + 1 ELSE e.round END,
        since = CASE WHEN (SELECT t.anew FROM told t WHERE t.alarm_id = e.alarm_id) THEN excluded.since ELSE e.since END,
        next_at = least(e.next_at, excluded.next_at)
    WHERE EXISTS (SELECT FROM told t WHERE t.alarm_id = e.alarm_id AND (t.anew OR (t.life AND t.repeated)))
)
SELECT count(*) FROM taken

-- name: lock_due
-- Calls for help first; what another desk looks at is left to it. How they stand is read in the next statement: this one
-- may have begun before what it waited for.
SELECT e.alarm_id FROM escalations e JOIN alarms a USING (alarm_id)
WHERE e.next_at <= %(at)s
ORDER BY a.class <> 'life', e.next_at
LIMIT %(most)s
FOR UPDATE OF e SKIP LOCKED

-- name: due
SELECT e.alarm_id, e.round, e.since, e.next_at, a.last_at, a.class AS alarm_class, a.kind, a.drill, a.handling,
       coalesce(d.region, substring(d.device FROM '^[?]area:([0-9]+)$'), '') AS region,
       a.closed_at IS NOT NULL AS closed, a.handling = 'arrived' AS arrived,
       a.suppressed IS NOT NULL OR a.shelved_until IS NOT NULL AS hidden
FROM escalations e JOIN alarms a USING (alarm_id) LEFT JOIN devices d USING (device_id)
WHERE e.alarm_id = ANY(%(alarm_ids)s::bigint[]) AND e.next_at <= %(at)s
ORDER BY a.class <> 'life', e.next_at

-- name: add_notices
-- A step that was told before stays told.
INSERT INTO notices (alarm_id, round, step, recipient, life, unless)
SELECT * FROM unnest(%(alarm_id)s::bigint[], %(round)s::int[], %(step)s::int[], %(recipient)s::text[],
                     %(life)s::boolean[], %(unless)s::text[])
ON CONFLICT (alarm_id, round, step, recipient) DO NOTHING
RETURNING recipient

-- name: go_on
UPDATE escalations e SET next_at = g.next_at, round = g.round, since = g.since
FROM unnest(%(alarm_id)s::bigint[], %(next_at)s::timestamptz[], %(round)s::int[], %(since)s::timestamptz[])
     AS g(alarm_id, next_at, round, since)
WHERE e.alarm_id = g.alarm_id

-- name: end
DELETE FROM escalations WHERE alarm_id = ANY(%(alarm_ids)s::bigint[])

-- name: forget_due
-- Where nobody is to be told, nobody takes up what is due: a day is kept, for whoever is named meanwhile.
DELETE FROM notify_due WHERE due_id IN (
    SELECT due_id FROM notify_due WHERE at < %(before)s LIMIT 20000 FOR UPDATE SKIP LOCKED
)

-- name: waiting
-- Which of these recipients have something to be sent now.
SELECT r FROM unnest(%(recipients)s::text[]) AS r
WHERE EXISTS (SELECT FROM notices n
              WHERE n.recipient = r AND n.state = 'waiting' AND n.next_at <= clock_timestamp())

-- name: claim
-- Take up what is to be sent, for as long as the lease: a desk that dies meanwhile leaves it to the next one. What has
-- become needless is withdrawn. Person and address are read for those alone who may have them.
WITH next AS (
    SELECT notice_id FROM notices
    WHERE recipient = %(recipient)s AND state = 'waiting' AND next_at <= clock_timestamp()
    ORDER BY life DESC, notice_id
    LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
), judged AS (
    SELECT n.notice_id,
           CASE n.unless
               WHEN 'acknowledged' THEN a.handling <> 'unacknowledged' OR a.suppressed IS NOT NULL
                                        OR a.shelved_until IS NOT NULL
               WHEN 'arrived' THEN a.handling IN ('arrived', 'closed')
               ELSE false
           END OR (a.drill AND NOT %(drills)s) AS needless
    FROM next JOIN notices n USING (notice_id) JOIN alarms a USING (alarm_id)
), claimed AS (
    UPDATE notices n SET
        state = CASE WHEN j.needless THEN 'withdrawn' ELSE 'waiting' END,
        ended_at = CASE WHEN j.needless THEN clock_timestamp() END,
        attempts = n.attempts + CASE WHEN j.needless THEN 0 ELSE 1 END,
        next_at = clock_timestamp() + %(lease)s * interval '1 second'
    FROM judged j WHERE n.notice_id = j.notice_id
    RETURNING n.*
)
SELECT c.notice_id, c.alarm_id, c.round, c.step, c.recipient, c.state, c.attempts, c.created_at,
       a.kind, a.class AS alarm_class, a.severity, a.handling, a.raised_at, a.last_at, a.closed_at, a.count,
       d.device, coalesce(d.region, substring(d.device FROM '^[?]area:([0-9]+)$'), '') AS region,
       coalesce(r.name, '') AS region_name,
       CASE WHEN %(personal)s THEN coalesce(p.name, '') ELSE '' END AS person,
       CASE WHEN %(personal)s THEN coalesce(p.address, '') ELSE '' END AS address
FROM claimed c JOIN alarms a USING (alarm_id) JOIN devices d USING (device_id)
LEFT JOIN regions r ON r.region = d.region
LEFT JOIN people p ON p.person_id = a.person_id
ORDER BY c.life DESC, c.notice_id

-- name: sent
-- Whatever another desk has noted meanwhile: it was sent. The log of the alarm tells it once.
WITH ended AS (
    UPDATE notices SET state = 'sent', ended_at = clock_timestamp(), error = ''
    WHERE notice_id = ANY(%(notice_ids)s::bigint[]) AND state <> 'sent'
    RETURNING notice_id, alarm_id, round, step, recipient
)
INSERT INTO alarm_log (alarm_id, at, actor, verb, detail)
SELECT alarm_id, %(at)s, 'carebell', 'notified',
       jsonb_build_object('step', step, 'to', recipient)
           || CASE WHEN round > 1 THEN jsonb_build_object('round', round) ELSE '{}' END
           || CASE WHEN %(personal)s THEN '{"personal": true}'::jsonb ELSE '{}' END
FROM ended ORDER BY notice_id

-- name: failed
-- Tried again later, unless another desk has taken it up meanwhile.
UPDATE notices n SET next_at = clock_timestamp() + f.seconds * interval '1 second', error = %(error)s
FROM unnest(%(notice_ids)s::bigint[], %(attempts)s::int[], %(seconds)s::float8[]) AS f(notice_id, attempts, seconds)
WHERE n.notice_id = f.notice_id AND n.attempts = f.attempts AND n.state = 'waiting'

-- name: give_up
WITH ended AS (
    UPDATE notices SET state = 'failed', ended_at = clock_timestamp()
    WHERE notice_id IN (
        SELECT notice_id FROM notices
        WHERE state = 'waiting' AND created_at < clock_timestamp() - %(seconds)s * interval '1 second'
          AND (attempts > 0 OR created_at < clock_timestamp() - 7 * %(seconds)s * interval '1 second')
        ORDER BY created_at LIMIT %(most)s FOR UPDATE SKIP LOCKED
    )
    RETURNING notice_id, alarm_id, round, step, recipient
), logged AS (
    INSERT INTO alarm_log (alarm_id, at, actor, verb, detail)
    SELECT alarm_id, %(at)s, 'carebell', 'not_notified', jsonb_build_object('step', step, 'to', recipient)
    FROM ended ORDER BY notice_id
)
SELECT recipient, count(*) FROM ended GROUP BY recipient ORDER BY recipient

-- name: trim_notices
-- The oldest go when the log of the alarm alone need know them, and no round of theirs can go on.
DELETE FROM notices WHERE notice_id IN (
    SELECT notice_id FROM (SELECT * FROM notices ORDER BY notice_id LIMIT 5000) AS oldest
    WHERE state <> 'waiting' AND created_at < clock_timestamp() - interval '40 days'
      AND NOT EXISTS (SELECT FROM alarms a WHERE a.alarm_id = oldest.alarm_id AND a.closed_at IS NULL)
)

-- name: list_notices
-- Newest first.
SELECT notice_id, alarm_id, round, step, recipient, state, attempts, created_at, next_at, ended_at, error
FROM notices
WHERE %(state)s::text IS NULL OR state = %(state)s
ORDER BY notice_id DESC
LIMIT %(limit)s
