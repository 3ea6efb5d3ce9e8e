-- Alarms, what was done about them, what must be sent because of them, and the ledger of commits.

CREATE TABLE alarms (
    alarm_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    device_id integer NOT NULL REFERENCES devices,
    kind text NOT NULL,
    class text NOT NULL CHECK (class IN ('life', 'health', 'technical')),
    severity text NOT NULL CHECK (severity IN ('critical', 'high', 'medium', 'low')),
    quality text NOT NULL CHECK (quality IN ('ok', 'late', 'unreadable')),
    condition text NOT NULL CHECK (condition IN ('active', 'cleared')),
    handling text NOT NULL DEFAULT 'unacknowledged'
        CHECK (handling IN ('unacknowledged', 'acknowledged', 'dispatched', 'closed')),
    count integer NOT NULL DEFAULT 1,
    raised_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    cleared_at timestamptz,
    acknowledged_at timestamptz,
    acknowledged_by text,
    dispatched_at timestamptz,
    dispatched_to text,
    closed_at timestamptz,
    closed_by text,
    outcome text,
    version integer NOT NULL DEFAULT 1,
    detail jsonb NOT NULL DEFAULT '{}',
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((closed_at IS NULL) = (handling <> 'closed'))
);
CREATE UNIQUE INDEX alarms_one_open ON alarms (device_id, kind) WHERE closed_at IS NULL;
CREATE INDEX alarms_device ON alarms (device_id, alarm_id);
COMMENT ON TABLE alarms IS 'One open alarm per device and kind; condition is written by ingest, handling by duty.';
COMMENT ON COLUMN alarms.count IS 'Activations while it was open.';
COMMENT ON COLUMN alarms.raised_at IS 'When the condition became an alarm, on the clock of the installation.';
COMMENT ON COLUMN alarms.last_at IS 'The newest activation.';
COMMENT ON COLUMN alarms.version IS 'Raised by one with each change: optimistic locking.';
COMMENT ON COLUMN alarms.committed_at IS 'Server time at which the row was written.';

CREATE TABLE alarm_log (
    log_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alarm_id bigint NOT NULL REFERENCES alarms,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    verb text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX alarm_log_alarm ON alarm_log (alarm_id, log_id);
COMMENT ON TABLE alarm_log IS 'Append-only: who, when, what. The engine signs as carebell.';

CREATE FUNCTION alarm_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'alarm_log is append-only';
END $$;
CREATE TRIGGER alarm_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON alarm_log
    FOR EACH STATEMENT EXECUTE FUNCTION alarm_log_is_append_only();

CREATE TABLE outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alarm_id bigint NOT NULL REFERENCES alarms,
    channel text NOT NULL CHECK (channel IN ('downlink')),
    message text NOT NULL CHECK (message IN ('raised', 'acknowledged', 'dispatched', 'closed')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_at timestamptz
);
CREATE INDEX outbox_unsent ON outbox (outbox_id) WHERE sent_at IS NULL;
COMMENT ON TABLE outbox IS 'What must be sent because an alarm changed: written in the transaction of the change.';

CREATE TABLE rule_sets (
    rule_set_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sha256 bytea NOT NULL UNIQUE,
    source text NOT NULL,
    first_used_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE rule_sets IS 'Every rule file that ever ran, word for word.';

CREATE TABLE ingest_ledger (
    batch bigint PRIMARY KEY,
    run uuid NOT NULL,
    lane smallint NOT NULL,
    now timestamptz NOT NULL,
    scan boolean NOT NULL,
    newest_ts timestamptz NOT NULL,
    packet_ids bytea NOT NULL,
    hashes bytea NOT NULL
);
COMMENT ON TABLE ingest_ledger IS 'What was committed: a redelivery found here is acknowledged, not stored again.';
COMMENT ON COLUMN ingest_ledger.newest_ts IS 'No row of the history is newer: what is above it cannot be there yet.';
COMMENT ON COLUMN ingest_ledger.packet_ids IS 'int32 array, native order: MQTT packet ids of the batch.';
COMMENT ON COLUMN ingest_ledger.hashes IS 'uint32 array, native order: hashes of topic and payload.';
COMMENT ON COLUMN ingest_ledger.run IS 'The run of the bridge that wrote it: settles a COMMIT whose reply was lost.';

CREATE TABLE engine_checkpoints (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    batch bigint NOT NULL,
    taken_at timestamptz NOT NULL,
    state bytea NOT NULL
);
COMMENT ON TABLE engine_checkpoints IS 'The state of the engine after a batch; later batches are replayed on top.';
