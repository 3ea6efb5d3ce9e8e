-- Dead letters that go down the line again: which were asked for, what became of them.
-- Columns are nullable: who makes a chunk by a row of its own (store/edition.py) says nothing of them.

CREATE TABLE redrives (
    redrive_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    marked bigint NOT NULL DEFAULT 0,
    stored bigint NOT NULL DEFAULT 0,
    partly bigint NOT NULL DEFAULT 0,
    duplicate bigint NOT NULL DEFAULT 0,
    refused bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE redrives IS 'Each `dead redrive`: counted on in the transaction that stores what the letters say.';
COMMENT ON COLUMN redrives.asked_at IS 'Server time.';
COMMENT ON COLUMN redrives.marked IS 'Letters that were to be re-driven.';
COMMENT ON COLUMN redrives.stored IS 'Letters that are gone: all they say is stored.';
COMMENT ON COLUMN redrives.partly IS 'Letters that stay for a part of theirs: the rest is stored.';
COMMENT ON COLUMN redrives.duplicate IS 'Letters that are gone: all they say stood in the history already.';
COMMENT ON COLUMN redrives.refused IS 'Letters that stay, with what was wrong this time.';

ALTER TABLE dead_letters ADD redrive_id bigint, ADD tries integer, ADD tried_at timestamptz;
COMMENT ON COLUMN dead_letters.redrive_id IS 'The redrive that it waits for; null: none. The bridge takes it from there.';
COMMENT ON COLUMN dead_letters.tries IS 'How often it was re-driven in vain; null: never.';
COMMENT ON COLUMN dead_letters.tried_at IS 'When it was last, on the clock of the installation.';
CREATE INDEX dead_letters_id ON dead_letters (dead_letter_id);
CREATE INDEX dead_letters_redrive ON dead_letters (redrive_id, received_at, dead_letter_id) WHERE redrive_id IS NOT NULL;

ALTER TABLE ingest_ledger ADD redriven boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN ingest_ledger.redriven IS 'Dead letters made it: the engine learned nothing from it, so a restore passes it over.';
