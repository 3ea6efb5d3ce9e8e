"""Vendors' simulated devices and the shipped mappings agree on each message, and neither knows the other."""

from collections import Counter
from collections.abc import Iterable

import pytest

from device_sims.district import District
from device_sims.families import FAMILIES
from device_sims.knobs import Knobs
from device_sims.links import Sending
from device_sims.message import Row, said
from schemas.sources import mapping
from schemas.sources.compiled import Sources
from schemas.sources.records import Said
from schemas.topics import vendor_device
from tests.unit.sims import START, scenario

BAD = Knobs(
    presses=(300, 600),
    phantom_presses=(300, 600),
    falls=300,
    broken=0.02,
    unreadable=0.2,
    dead_spots=(10, 40),
    wrong_lengths=0.3,
)
VENDORS = [name for name, family in FAMILIES.items() if family.source]


def heard(records: Said) -> list[Row]:
    """Return the rows that come of what was heard; a beat that stands twice without a time is one."""
    rows = [
        Row(record.channel.name.lower(), record.fields.get("ts"), said(record.fields))
        for record in records.records
        if not record.state
    ]
    if (
        not rows and records.records and not records.faults
    ):  # a state that goes on shows that the device lives
        rows = [Row("heartbeat", records.records[0].fields.get("ts"))]
    beats = [row for row in rows if row == Row("heartbeat", None)]
    return sorted([row for row in rows if row not in beats] + beats[:1], key=repr)


def state_of(records: Said) -> bool | None:
    """Return whether the state of a call is told to hold, or not to; None if nothing is told of it."""
    return next((record.on for record in records.records if record.state.endswith(".sos")), None)


def fate_of(records: Said) -> tuple[str, bool] | None:
    """Return why a message is a dead letter, and whether all of it is."""
    return (records.faults[0].reason, not records.records) if records.faults else None


def stream(family: str) -> Iterable[tuple[str, Sending]]:
    """Return what some devices of a family send in two days, with their names."""
    district = District(scenario(family, people=12, hours=48, knobs=BAD), 5, START)
    return ((device.name, sending) for device, sending in district.sends())


@pytest.mark.parametrize("family", VENDORS)
def test_a_family_says_of_its_messages_what_the_mapping_reads(family: str) -> None:
    """Device, rows with their times and values, calls, states, faults: the same of every single message."""
    sources = Sources(mapping.load(mapping.texts([FAMILIES[family].source])))
    met: Counter[str] = Counter()
    for device, sending in stream(family):
        message = sending.message
        reader, levels = sources.find(message.topic) or pytest.fail(f"nobody reads {message.topic}")
        records = reader.read(levels, message.payload, sending.at)
        where = f"{message.topic} {message.payload!r}"
        assert {vendor_device(record.device) for record in records.records} <= {device}, where
        if records.ignored:
            assert (message.rows, message.dead) == ((), None), where
            continue
        assert heard(records) == sorted(map(tuple, message.rows), key=repr), where
        assert fate_of(records) == message.dead, where
        assert state_of(records) is message.state, where
        met.update((message.call, *(message.dead or ())[:1]))
    assert met[""] > 100
    assert met["sos"] > 5 or family.endswith("_pir")
