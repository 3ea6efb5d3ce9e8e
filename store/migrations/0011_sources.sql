-- Vendors' devices: other names for one device, clocks of other zones, states that are told over and over.

ALTER TABLE devices
    ADD aliases text[] NOT NULL DEFAULT '{}',
    ADD clock_hours smallint NOT NULL DEFAULT 0 CHECK (clock_hours BETWEEN -14 AND 14);
CREATE INDEX devices_aliases ON devices USING gin (aliases) WHERE aliases <> '{}';
COMMENT ON COLUMN devices.aliases IS 'Other names by which its messages come, as an IMEI; one name belongs to one device only.';
COMMENT ON COLUMN devices.clock_hours IS
    'By how many hours its clock is fast, as the bridge has seen over a while; its times are corrected by it.';

CREATE TABLE device_states (
    device text NOT NULL,
    state text NOT NULL,
    PRIMARY KEY (device, state)
);
COMMENT ON TABLE device_states IS 'States that hold and that devices tell over and over: only their beginning was an event.';
COMMENT ON COLUMN device_states.device IS 'What the vendor calls it, which may be an alias.';
COMMENT ON COLUMN device_states.state IS 'Source and event, as g6xx.sos.';
