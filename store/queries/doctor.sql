-- name: safety
SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')

-- name: registry
SELECT (SELECT count(*) FROM devices) AS devices,
       (SELECT count(*) FROM devices WHERE person_id IS NULL) AS without_person,
       (SELECT count(*) FROM devices WHERE self_registered) AS self_registered,
       (SELECT count(*) FROM people p WHERE NOT EXISTS (SELECT FROM contacts c WHERE c.person_id = p.person_id))
           AS without_contact,
       (SELECT count(*) FROM (SELECT DISTINCT region FROM devices WHERE region IS NOT NULL) AS d
        LEFT JOIN regions r USING (region) WHERE coalesce(r.name, '') = '') AS unnamed_regions
