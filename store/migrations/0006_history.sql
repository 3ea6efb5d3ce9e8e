-- History that stays bounded: roll-ups that are kept when their rows are dropped, and what `db maintain` did.
-- Every row of the history bears the batch that brought it, and batches are committed in order: so what is
-- rolled up is all up to one batch, each row once, and a late row is added to the hour or day of its ts.
-- A value that nobody measured is null throughout. Minimum and maximum are real, as the values are; a sum of
-- reals in double precision is exact, so the order in which rows come does not show.

CREATE TABLE vitals_hourly (
    device_id integer NOT NULL,
    hour timestamptz NOT NULL,
    n integer NOT NULL,
    hr_n integer, hr_min real, hr_sum double precision, hr_max real,
    spo2_n integer, spo2_min real, spo2_sum double precision, spo2_max real,
    temp_n integer, temp_min real, temp_sum double precision, temp_max real,
    sbp_n integer, sbp_min real, sbp_sum double precision, sbp_max real,
    dbp_n integer, dbp_min real, dbp_sum double precision, dbp_max real,
    glucose_n integer, glucose_min real, glucose_sum double precision, glucose_max real,
    worn_n integer, worn_true integer,
    steps_n integer, steps_min integer, steps_max integer,
    PRIMARY KEY (device_id, hour)
) /*PARTITION BY hour*/;
COMMENT ON TABLE vitals_hourly IS 'Vitals by device and hour of ts: count, minimum, sum and maximum of each value.';
COMMENT ON COLUMN vitals_hourly.hour IS 'The hour begins.';
COMMENT ON COLUMN vitals_hourly.n IS 'Rows of vitals.';
COMMENT ON COLUMN vitals_hourly.hr_sum IS 'bpm; the mean is hr_sum / hr_n, and so for every value';
COMMENT ON COLUMN vitals_hourly.spo2_sum IS '%';
COMMENT ON COLUMN vitals_hourly.temp_sum IS 'degC';
COMMENT ON COLUMN vitals_hourly.sbp_sum IS 'mmHg';
COMMENT ON COLUMN vitals_hourly.dbp_sum IS 'mmHg';
COMMENT ON COLUMN vitals_hourly.glucose_sum IS 'mmol/L';
COMMENT ON COLUMN vitals_hourly.worn_true IS 'Rows that say worn; worn_n say whether it is.';
COMMENT ON COLUMN vitals_hourly.steps_max IS 'As sent; of a device that counts on, max - min was walked.';

CREATE TABLE activity_daily (
    device_id integer NOT NULL,
    day date NOT NULL,
    n integer NOT NULL,
    motion_n integer, motion_true integer,
    first_motion_at timestamptz,
    last_motion_at timestamptz,
    steps_n integer, steps_min integer, steps_sum bigint, steps_max integer,
    PRIMARY KEY (device_id, day)
) /*PARTITION BY day*/;
COMMENT ON TABLE activity_daily IS 'Activity by device and day of ts.';
COMMENT ON COLUMN activity_daily.day IS 'The day in Asia/Shanghai.';
COMMENT ON COLUMN activity_daily.n IS 'Rows of activity.';
COMMENT ON COLUMN activity_daily.motion_true IS 'Rows that saw motion; motion_n say whether there was any.';
COMMENT ON COLUMN activity_daily.first_motion_at IS 'The first motion of the day: about when the person got up.';
COMMENT ON COLUMN activity_daily.steps_max IS 'As sent; of a device that counts on until midnight, the steps of the day.';
COMMENT ON COLUMN activity_daily.steps_sum IS 'Of a device that sends the steps since its last message, the steps of the day.';

CREATE TABLE rolled_up (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    batch bigint NOT NULL,
    until timestamptz,
    brought jsonb NOT NULL
);
INSERT INTO rolled_up (batch, brought) VALUES (0, '{}');
COMMENT ON TABLE rolled_up IS 'All rows up to this batch are in the roll-ups, and none of a later one.';
COMMENT ON COLUMN rolled_up.until IS 'The clock of the line at that batch; null: nothing was rolled up yet.';
COMMENT ON COLUMN rolled_up.brought IS 'Rows that the batches up to this one brought to each table of the history, dropped or not.';

CREATE TABLE maintenance (
    maintained_at timestamptz PRIMARY KEY,
    until timestamptz,
    brought jsonb NOT NULL,
    database_bytes bigint NOT NULL
);
COMMENT ON TABLE maintenance IS 'When `db maintain` did its work, and what it found: rows a day and growth are read off it.';
COMMENT ON COLUMN maintenance.maintained_at IS 'When it ended, on the clock of the installation.';
COMMENT ON COLUMN maintenance.until IS 'rolled_up.until at that time, as brought is.';
