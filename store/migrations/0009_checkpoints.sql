-- The engine's state in pieces: writing it for a million devices at once would keep an SOS waiting.
-- A checkpoint of before is piece 0, in which a restore finds more devices than a piece has.
ALTER TABLE engine_checkpoints DROP COLUMN only_one, ADD COLUMN piece integer NOT NULL DEFAULT 0;
ALTER TABLE engine_checkpoints ALTER COLUMN piece DROP DEFAULT, ADD PRIMARY KEY (piece);
COMMENT ON COLUMN engine_checkpoints.piece IS 'The devices whose numbers divided by 4096 give this.';
COMMENT ON COLUMN engine_checkpoints.batch IS 'Later batches are replayed on top, for these devices.';
