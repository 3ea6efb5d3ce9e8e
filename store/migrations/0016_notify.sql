-- Who is told of an alarm, and what has become of it. What is raised is noted in the transaction that raises it, so that
-- nothing can be forgotten; everything else is the desk's. See docs/adr/023.

CREATE TABLE notify_due (
    due_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alarm_id bigint NOT NULL,
    at timestamptz NOT NULL,
    verb text NOT NULL
);
COMMENT ON TABLE notify_due IS
    'Alarms that came before staff and that no desk has taken up yet. Only ever added to by the writer of alarms, so that no desk can hold it up.';
COMMENT ON COLUMN notify_due.alarm_id IS 'No foreign key: the line of the log has it, in the same transaction.';
COMMENT ON COLUMN notify_due.at IS 'On the clock of the installation.';
COMMENT ON COLUMN notify_due.verb IS 'Of the line of the log, by which it came.';

CREATE FUNCTION alarm_log_is_due() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO notify_due (alarm_id, at, verb)
    SELECT alarm_id, at, verb FROM added
    WHERE verb IN ('raised', 'repeated', 'stepped', 'unsuppressed', 'unshelved', 'reopened');
    RETURN NULL;
END $$;
CREATE TRIGGER alarm_log_due AFTER INSERT ON alarm_log REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION alarm_log_is_due();

CREATE TABLE escalations (
    alarm_id bigint PRIMARY KEY REFERENCES alarms,
    round integer NOT NULL DEFAULT 1,
    since timestamptz NOT NULL,
    next_at timestamptz NOT NULL
);
CREATE INDEX escalations_next ON escalations (next_at);
COMMENT ON TABLE escalations IS 'Alarms whose ladder is not through.';
COMMENT ON COLUMN escalations.round IS 'The ladder begins again for what is re-opened, listed again, or called anew.';
COMMENT ON COLUMN escalations.since IS 'When the round began, on the clock of the installation, as is next_at.';
COMMENT ON COLUMN escalations.next_at IS 'When to look next: a step is due then, or the round is over.';

CREATE TABLE notices (
    notice_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alarm_id bigint NOT NULL REFERENCES alarms,
    round integer NOT NULL,
    step integer NOT NULL,
    recipient text NOT NULL,
    life boolean NOT NULL,
    unless text NOT NULL CHECK (unless IN ('acknowledged', 'arrived', 'nothing')),
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'failed', 'withdrawn')),
    attempts integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at timestamptz,
    error text NOT NULL DEFAULT '',
    UNIQUE (alarm_id, round, step, recipient),
    CHECK ((ended_at IS NULL) = (state = 'waiting'))
);
CREATE INDEX notices_waiting ON notices (recipient, life DESC, notice_id) WHERE state = 'waiting';
CREATE INDEX notices_old ON notices (created_at) WHERE state = 'waiting';
COMMENT ON TABLE notices IS
    'What is to be told to whom: once for each step of a round. All times are the server''s: delivery is of the real world.';
COMMENT ON COLUMN notices.recipient IS 'As notify.toml calls it. Addresses and secrets stand there and never here.';
COMMENT ON COLUMN notices.unless IS 'What makes it needless as long as it is not sent.';
COMMENT ON COLUMN notices.state IS 'withdrawn: what it was about was done before it was sent; failed: given up.';
COMMENT ON COLUMN notices.attempts IS 'Times that a desk took it up to send it.';
COMMENT ON COLUMN notices.next_at IS 'Not before then; while a desk sends it, when another one may.';
COMMENT ON COLUMN notices.error IS 'Why the last attempt failed.';

-- What nobody had acknowledged before there were ladders is escalated as well.
INSERT INTO notify_due (alarm_id, at, verb)
SELECT alarm_id, raised_at, 'raised' FROM alarms WHERE closed_at IS NULL AND handling = 'unacknowledged';
