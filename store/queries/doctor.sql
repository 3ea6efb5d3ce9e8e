-- name: safety
SELECT name, setting FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')

-- name: registry
-- Without devices of drills and the people who were made up for them.
SELECT (SELECT count(*) FROM devices WHERE NOT drill) AS devices,
       (SELECT count(*) FROM devices WHERE person_id IS NULL AND NOT drill) AS without_person,
       (SELECT count(*) FROM devices WHERE self_registered) AS self_registered,
       (SELECT count(*) FROM people p WHERE NOT EXISTS (SELECT FROM contacts c WHERE c.person_id = p.person_id)
          AND NOT EXISTS (SELECT FROM devices d WHERE d.person_id = p.person_id AND d.drill))
           AS without_contact,
       (SELECT count(*) FROM (SELECT DISTINCT region FROM devices WHERE region IS NOT NULL AND NOT drill) AS d
        LEFT JOIN regions r USING (region) WHERE coalesce(r.name, '') = '') AS unnamed_regions

-- name: heard
-- The time of the newest reading. The bridge's own canaries have batches too, but no readings.
SELECT newest_ts FROM ingest_ledger WHERE newest_ts > 'epoch' ORDER BY batch DESC LIMIT 1

-- name: closed_boards
-- Views of the boards that the role may not read; all of them where there is no such role.
SELECT v.viewname FROM pg_views v LEFT JOIN pg_roles r ON r.rolname = %(role)s
WHERE v.schemaname = current_schema() AND starts_with(v.viewname, 'board_')
  AND (r.oid IS NULL OR NOT has_table_privilege(r.oid, format('%%I.%%I', v.schemaname, v.viewname), 'SELECT'))
ORDER BY v.viewname
