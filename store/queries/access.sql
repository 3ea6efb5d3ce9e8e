-- Who may use the desk, their keys, and the log of who did and read what. Times are the server's.

-- name: record
INSERT INTO audit_log (actor, role, action, alarm_id, person_id, status, address, detail)
VALUES (%(actor)s, %(role)s, %(action)s, %(alarm_id)s, %(person_id)s, %(status)s, %(address)s, %(detail)s)

-- name: keys_in_force
-- Every key that counts now: what is revoked, over, or of somebody who is disabled, is not among them.
SELECT t.digest, t.name, u.role, t.expires_at, '' AS refused
FROM user_tokens t JOIN users u USING (name)
WHERE t.revoked_at IS NULL AND u.disabled_at IS NULL AND t.expires_at > clock_timestamp()
ORDER BY t.token_id DESC
LIMIT %(limit)s

-- name: key_of_digest
-- One key, also one that does not count, and then why.
SELECT t.name, u.role, t.expires_at,
       CASE WHEN u.disabled_at IS NOT NULL THEN 'disabled'
            WHEN t.revoked_at IS NOT NULL THEN 'revoked'
            WHEN t.expires_at <= clock_timestamp() THEN 'expired'
            ELSE '' END AS refused
FROM user_tokens t JOIN users u USING (name)
WHERE t.digest = %(digest)s

-- name: list_users
-- By name, each with how many tokens count now and until when the last of them does.
SELECT u.name, u.role, u.created_at, u.disabled_at,
       count(t.token_id)::integer AS tokens, max(t.expires_at) AS until
FROM users u
LEFT JOIN user_tokens t ON t.name = u.name AND t.revoked_at IS NULL AND t.expires_at > clock_timestamp()
    AND u.disabled_at IS NULL
WHERE %(name)s::text IS NULL OR u.name = %(name)s
GROUP BY u.name
ORDER BY u.name
LIMIT %(limit)s

-- name: list_tokens
-- Newest first.
SELECT t.token_id, t.name, t.created_at, t.expires_at, t.revoked_at, t.note,
       t.revoked_at IS NULL AND u.disabled_at IS NULL AND t.expires_at > clock_timestamp() AS counts
FROM user_tokens t JOIN users u USING (name)
WHERE (%(name)s::text IS NULL OR t.name = %(name)s) AND (%(token_id)s::integer IS NULL OR t.token_id = %(token_id)s)
ORDER BY t.token_id DESC
LIMIT %(limit)s

-- name: add_user
INSERT INTO users (name, role) VALUES (%(name)s, %(role)s) ON CONFLICT DO NOTHING RETURNING name

-- name: lock_user
-- Whoever changes somebody waits here for who does so at the same time.
SELECT disabled_at FROM users WHERE name = %(name)s FOR UPDATE

-- name: set_role
UPDATE users SET role = %(role)s WHERE name = %(name)s

-- name: disable
-- The first time stays.
UPDATE users SET disabled_at = coalesce(disabled_at, clock_timestamp()) WHERE name = %(name)s

-- name: enable
UPDATE users SET disabled_at = NULL WHERE name = %(name)s

-- name: add_token
INSERT INTO user_tokens (name, digest, expires_at, note)
VALUES (%(name)s, %(digest)s, clock_timestamp() + make_interval(days => %(days)s), %(note)s)
RETURNING token_id, name, created_at, expires_at, revoked_at, note, true AS counts

-- name: revoke_token
UPDATE user_tokens SET revoked_at = clock_timestamp()
WHERE token_id = %(token_id)s AND revoked_at IS NULL
RETURNING token_id

-- name: revoke_all
UPDATE user_tokens SET revoked_at = clock_timestamp()
WHERE name = %(name)s AND revoked_at IS NULL
RETURNING token_id

-- name: count_users
-- Who is not disabled, how many keys count, and how many of them only for another week.
SELECT (SELECT count(*)::integer FROM users WHERE disabled_at IS NULL) AS users,
       count(*)::integer AS tokens,
       count(*) FILTER (WHERE t.expires_at < clock_timestamp() + interval '7 days')::integer AS ending
FROM user_tokens t JOIN users u USING (name)
WHERE t.revoked_at IS NULL AND u.disabled_at IS NULL AND t.expires_at > clock_timestamp()

-- name: audit_before
-- Newest first, those that were written before a line.
SELECT audit_id, at, actor, role, action, alarm_id, person_id, status, address, detail
FROM audit_log
WHERE audit_id < %(before)s
ORDER BY audit_id DESC
LIMIT %(limit)s

-- name: audit_since
-- Newest first, those of a time and later. By time, so that the index on it serves, however long the log is.
SELECT audit_id, at, actor, role, action, alarm_id, person_id, status, address, detail
FROM audit_log
WHERE at >= %(since)s
ORDER BY at DESC, audit_id DESC
LIMIT %(limit)s

-- name: trim_audit
-- What is older than three years, which the table lets go; the rest of it next time.
DELETE FROM audit_log
WHERE audit_id IN (SELECT audit_id FROM audit_log
                   WHERE at < clock_timestamp() - interval '3 years 1 day' ORDER BY at LIMIT 100000)
