-- Who may use the desk, with which keys, and what everybody did and read there. All times are the server's: keys
-- and their proofs belong to the real world, also where the clock of the installation is another.

CREATE TABLE users (
    name text PRIMARY KEY,
    role text NOT NULL CHECK (role IN ('viewer', 'operator', 'supervisor', 'admin')),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    disabled_at timestamptz
);
COMMENT ON TABLE users IS 'Who may use the desk. Nobody is deleted: the logs name them.';
COMMENT ON COLUMN users.disabled_at IS 'From then on none of the tokens counts.';

CREATE TABLE user_tokens (
    token_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL REFERENCES users,
    digest bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    note text NOT NULL DEFAULT '',
    CHECK (expires_at <= created_at + interval '367 days')
);
CREATE INDEX user_tokens_name ON user_tokens (name);
COMMENT ON COLUMN user_tokens.digest IS 'sha256 of the token: the token itself is shown once and stored nowhere.';

CREATE TABLE audit_log (
    audit_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    role text NOT NULL,
    action text NOT NULL,
    alarm_id bigint,
    person_id bigint,
    status integer NOT NULL,
    address text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_at ON audit_log (at, audit_id);
CREATE INDEX audit_log_alarm ON audit_log (alarm_id, audit_id) WHERE alarm_id IS NOT NULL;
CREATE INDEX audit_log_person ON audit_log (person_id, audit_id) WHERE person_id IS NOT NULL;
COMMENT ON TABLE audit_log IS 'Append-only for three years: who handled, who read personal data, who was refused.';
COMMENT ON COLUMN audit_log.actor IS 'A user, or empty: nobody we know.';
COMMENT ON COLUMN audit_log.role IS 'At that time; empty: nobody we know.';
COMMENT ON COLUMN audit_log.alarm_id IS 'As it was asked for: there may be no such alarm.';
COMMENT ON COLUMN audit_log.status IS 'HTTP status of the answer; 0: from the command line.';
COMMENT ON COLUMN audit_log.address IS 'Of the client, as far as it is known.';
COMMENT ON COLUMN audit_log.detail IS 'Of refusals `count`: they are counted by the minute, so that a flood is no flood here.';

CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is append-only';
END $$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only();

-- Logs are kept for six months at least; what is older than three years may go, which `carebell db maintain` sees to.
CREATE TRIGGER audit_log_is_kept BEFORE DELETE ON audit_log
    FOR EACH ROW WHEN (OLD.at > clock_timestamp() - interval '3 years')
    EXECUTE FUNCTION audit_log_is_append_only();
