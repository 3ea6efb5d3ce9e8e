-- Who and what there is: regions, devices, people and their contacts.

CREATE TABLE regions (
    region text PRIMARY KEY CHECK (region ~ '^[0-9]{6}([0-9]{3}){0,2}$'),
    name text NOT NULL DEFAULT ''
);
COMMENT ON TABLE regions IS 'Administrative codes of 6, 9 or 12 digits; a prefix is the parent.';

CREATE TABLE people (
    person_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    birth_year smallint,
    sex text CHECK (sex IN ('male', 'female')),
    phone text NOT NULL DEFAULT '',
    address text NOT NULL DEFAULT '',
    notes text NOT NULL DEFAULT ''
);
COMMENT ON COLUMN people.notes IS 'Illnesses, allergies, key holder: what the caller must know.';

CREATE TABLE contacts (
    person_id integer NOT NULL REFERENCES people ON DELETE CASCADE,
    rank smallint NOT NULL,
    name text NOT NULL,
    relation text NOT NULL DEFAULT '',
    phone text NOT NULL,
    PRIMARY KEY (person_id, rank)
);
COMMENT ON COLUMN contacts.rank IS 'Order in which to call, 1 first.';

CREATE TABLE devices (
    device_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device text NOT NULL UNIQUE,
    region text CHECK (region ~ '^[0-9]{6}([0-9]{3}){0,2}$'),
    model text NOT NULL DEFAULT '',
    person_id integer REFERENCES people,
    heartbeat_seconds integer CHECK (heartbeat_seconds > 0),
    self_registered boolean NOT NULL DEFAULT false,
    registered_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX devices_person ON devices (person_id);
COMMENT ON COLUMN devices.device IS 'The id in the topic; one that starts with ? stands for a malformed topic that called for help.';
COMMENT ON COLUMN devices.heartbeat_seconds IS 'Expected interval of its messages in seconds; null: by model.';
COMMENT ON COLUMN devices.self_registered IS 'True if its first message registered it.';
