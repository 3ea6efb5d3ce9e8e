-- The versions of the rules as people ask for them. What the bridge asks is in ingest.sql.

-- name: versions
-- Newest first.
SELECT rule_set_id AS version, applied_at, applied_by, used_at, refused,
       coalesce(used_at = max(used_at) OVER (), false) AS in_force
FROM rule_sets
ORDER BY rule_set_id DESC LIMIT %(limit)s

-- name: version
SELECT rule_set_id AS version, applied_at, applied_by, used_at, refused,
       coalesce(used_at = (SELECT max(used_at) FROM rule_sets), false) AS in_force
FROM rule_sets WHERE rule_set_id = %(version)s

-- name: source
-- Of a version; without one, of the version in force.
SELECT source FROM rule_sets
WHERE rule_set_id = %(version)s::integer OR (%(version)s::integer IS NULL AND used_at IS NOT NULL)
ORDER BY used_at DESC NULLS LAST LIMIT 1

-- name: apply
-- Nothing if it is what was applied last.
WITH newest AS (
    SELECT source FROM rule_sets WHERE applied_at IS NOT NULL AND refused IS NULL ORDER BY rule_set_id DESC LIMIT 1
)
INSERT INTO rule_sets (sha256, source, applied_at, applied_by)
SELECT sha256(convert_to(%(source)s, 'UTF8')), %(source)s, clock_timestamp(), %(by)s
WHERE NOT EXISTS (SELECT FROM newest WHERE source = %(source)s)
RETURNING rule_set_id

-- name: tell
SELECT pg_notify('carebell_rules', '')

-- name: newest
-- What a bridge works by once it has heard of it.
SELECT max(rule_set_id) FROM rule_sets WHERE applied_at IS NOT NULL AND refused IS NULL

-- name: thresholds
SELECT person, name, thresholds FROM people WHERE thresholds <> '{}' ORDER BY person
