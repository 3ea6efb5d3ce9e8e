-- The history. /*PARTITION BY ts*/ is where the two editions differ; store/edition.py fills it in.
-- Times: ts is the device's time where it can be used, else the time of receipt; ts_sent is as sent, in ms.
-- Key: (device_id, ts, digest), so that the same message can never stand twice.
-- The index on batch finds what was committed after a checkpoint of the engine.

CREATE TABLE vitals (
    device_id integer NOT NULL,
    ts timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    time_quality smallint NOT NULL,
    ts_sent bigint,
    seq bigint,
    digest bigint NOT NULL,
    batch bigint NOT NULL,
    hr real, spo2 real, temp real, sbp real, dbp real, glucose real, worn boolean, steps integer
) /*PARTITION BY ts*/;
CREATE UNIQUE INDEX vitals_key ON vitals (device_id, ts, digest);
CREATE INDEX vitals_batch ON vitals USING brin (batch);
COMMENT ON COLUMN vitals.time_quality IS '0 ok, 1 missing, 2 assumed_zone, 3 future, 4 epoch, 5 late';
COMMENT ON COLUMN vitals.ts_sent IS 'Milliseconds since 1970 as the device sent it; null: none sent.';
COMMENT ON COLUMN vitals.batch IS 'The commit that brought the row (ingest_ledger.batch).';
COMMENT ON COLUMN vitals.hr IS 'bpm';
COMMENT ON COLUMN vitals.spo2 IS '%';
COMMENT ON COLUMN vitals.temp IS 'degC';
COMMENT ON COLUMN vitals.sbp IS 'mmHg';
COMMENT ON COLUMN vitals.dbp IS 'mmHg';
COMMENT ON COLUMN vitals.glucose IS 'mmol/L';

CREATE TABLE heartbeats (
    device_id integer NOT NULL,
    ts timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    time_quality smallint NOT NULL,
    ts_sent bigint,
    seq bigint,
    digest bigint NOT NULL,
    batch bigint NOT NULL,
    battery real, rssi real, mains boolean
) /*PARTITION BY ts*/;
CREATE UNIQUE INDEX heartbeats_key ON heartbeats (device_id, ts, digest);
CREATE INDEX heartbeats_batch ON heartbeats USING brin (batch);
COMMENT ON COLUMN heartbeats.battery IS '%';
COMMENT ON COLUMN heartbeats.rssi IS 'dBm';

CREATE TABLE activity (
    device_id integer NOT NULL,
    ts timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    time_quality smallint NOT NULL,
    ts_sent bigint,
    seq bigint,
    digest bigint NOT NULL,
    batch bigint NOT NULL,
    motion boolean, steps integer, room text
) /*PARTITION BY ts*/;
CREATE UNIQUE INDEX activity_key ON activity (device_id, ts, digest);
CREATE INDEX activity_batch ON activity USING brin (batch);

CREATE TABLE events (
    device_id integer NOT NULL,
    ts timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    time_quality smallint NOT NULL,
    ts_sent bigint,
    seq bigint,
    digest bigint NOT NULL,
    batch bigint NOT NULL,
    channel smallint NOT NULL,
    event smallint NOT NULL,
    detail jsonb
) /*PARTITION BY ts*/;
CREATE UNIQUE INDEX events_key ON events (device_id, ts, digest);
CREATE INDEX events_batch ON events USING brin (batch);
COMMENT ON COLUMN events.event IS 'Number of schemas.readings.Event: 1 sos, 2 fall_detected, 3 fall_confirmed, 4 fall_cancelled, ...';

CREATE TABLE dead_letters (
    dead_letter_id bigint GENERATED ALWAYS AS IDENTITY,
    received_at timestamptz NOT NULL,
    batch bigint NOT NULL,
    topic text NOT NULL,
    payload bytea NOT NULL,
    payload_length integer NOT NULL,
    payload_sha256 bytea NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    whole boolean NOT NULL,
    PRIMARY KEY (received_at, dead_letter_id)
) /*PARTITION BY received_at*/;
CREATE INDEX dead_letters_batch ON dead_letters USING brin (batch);
COMMENT ON COLUMN dead_letters.payload IS 'The bytes as received, at most the first 64 KiB.';
COMMENT ON COLUMN dead_letters.whole IS 'False if the rest of the message was stored.';
