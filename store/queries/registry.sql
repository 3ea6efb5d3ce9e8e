-- name: enter_region
INSERT INTO regions (region, name) VALUES (%(region)s, %(name)s)
ON CONFLICT (region) DO UPDATE SET name = excluded.name

-- name: enter_device
-- A device with the person behind it and the contacts to call, in one statement.
WITH person AS (
    INSERT INTO people (name, birth_year, sex, phone, address, notes)
    VALUES (%(name)s, %(birth_year)s, %(sex)s, %(phone)s, %(address)s, %(notes)s)
    RETURNING person_id
), contact AS (
    INSERT INTO contacts (person_id, rank, name, relation, phone)
    SELECT p.person_id, c.rank, c.name, c.relation, c.phone
    FROM person p, jsonb_to_recordset(%(contacts)s) AS c(rank smallint, name text, relation text, phone text)
)
INSERT INTO devices (device, region, model, heartbeat_seconds, person_id)
SELECT %(device)s, %(region)s, %(model)s, %(heartbeat_seconds)s, person_id FROM person
