-- Who calls, and whose is this device: found by how a name, a number or a telephone number begins.

CREATE INDEX people_name_begins ON people (name text_pattern_ops);
CREATE INDEX people_number_begins ON people (person text_pattern_ops);
CREATE INDEX people_phone_begins ON people (regexp_replace(phone, '^\+86|[^0-9]', '', 'g') text_pattern_ops)
    WHERE phone <> '';
CREATE INDEX devices_name_begins ON devices (device text_pattern_ops);
