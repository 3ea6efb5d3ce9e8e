"""Rules that change while the bridge runs: between two batches, through crashes, and without losing anything.

A crash here is that everything in memory is gone and the database is kept, as in test_restore.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import pytest

from ingest import metrics
from schemas.clock import to_datetime
from schemas.errors import UsageError
from schemas.topics import uplink
from store import registry, restore, rule_sets
from tests.contract.kit import (
    REGION,
    Cutter,
    Line,
    after,
    message,
    milliseconds,
    script,
    settings_for,
    state,
    tuples,
)
from tests.desk import connect
from tests.installation import Installation
from tests.mqtt import Client

pytestmark = pytest.mark.one_edition

MINUTE: Final = 60
NEEDED: Final = """
[[rule]]
kind = "sos"
when = "event == 'sos'"
each = true

[[rule]]
kind = "fall"
machine = "fall"
"""
PULSE: Final = """
[[rule]]
kind = "hr_high"
when = "hr >= top"
for = "10m"
"""
PLUG: Final = """
[[rule]]
kind = "mains_lost"
when = "mains == 0"
"""
OXYGEN: Final = """
[[rule]]
kind = "spo2_low"
when = "spo2 <= 91"
for = "5m"
"""
SHORT: Final = """
[[rule]]
kind = "hr_high"
when = "hr >= top"
for = "2m"
"""
SILENCE: Final = """
[[rule]]
kind = "device_silent"
machine = "silence"
misses = 3
"""


def rule_file(*parts: str, top: float = 131) -> str:
    """Return a rule file with the rules that every one must have."""
    return "".join((f"[thresholds]\ntop = {top}\n", NEEDED, *parts))


async def apply(url: str, text: str) -> int:
    """Write a version as the command does."""
    async with connect(url) as connection:
        number = await rule_sets.apply(connection, text, "王芳")
    assert number is not None
    return number


async def change(line: Line, url: str, text: str) -> int:
    """Apply rules, and let the bridge hear of it between two batches."""
    number = await apply(url, text)
    await hear(line, url)
    return number


async def hear(line: Line, url: str) -> None:
    """Let the bridge read what was applied."""
    async with connect(url) as connection:
        await line.bridge.news._read_rules(connection)
    line.bridge._learn_news()


def quiet(url: str, **ingest: Any) -> Any:  # noqa: ANN401 - settings, of several types
    """Return settings with which no checkpoint is made by itself."""
    return settings_for(url, checkpoint_every=86_400, **ingest)


async def restored(url: str, **ingest: Any) -> Line:  # noqa: ANN401 - of several types
    """Return a line restored from the database, as if no time had passed."""
    line = Line(quiet(url, **ingest))
    setattr(line.bridge, "_forgive", lambda _now: None)  # noqa: B010 - an attribute over the method
    async with line:
        pass
    return line


Step = Callable[[Line], Awaitable[Any]]


def pulse(minute: float, hr: float, **more: float) -> Step:
    """Return the step in which BAND-1 sends a pulse, measured and received in that minute."""
    fields = {"ts": milliseconds(minute * MINUTE), "hr": hr, **more}
    return lambda line: line.feed(message("BAND-1", "vitals", fields, at=minute * MINUTE + 1))


def beat(minute: float, device: str = "BELL-1", *, mains: bool = True) -> Step:
    """Return the step in which a device says that it lives."""
    return lambda line: line.feed(message(device, "heartbeat", {"mains": mains}, at=minute * MINUTE))


async def alarms(url: str) -> list[tuple[Any, ...]]:
    """Return each alarm in short, in the order of the raises."""
    return await tuples(
        url,
        "SELECT kind, condition, handling, rule_set_id, raised_at, closed_at FROM alarms ORDER BY raised_at",
    )


# ---------------------------------------------------------------------------------------------- the change


async def test_rules_that_are_the_same_go_on_and_new_ones_begin_empty(url: str) -> None:
    """A pending pulse fires when it would have; oxygen that was low before counts from the change on."""
    async with Line(quiet(url)) as line:
        one = await change(line, url, rule_file(PULSE))
        for minute in range(7):
            await pulse(minute, 140, spo2=85)(line)
        two = await change(line, url, rule_file(OXYGEN, PULSE))
        for minute in range(7, 16):
            await pulse(minute, 140, spo2=85)(line)
    assert (one, two) == (2, 3)
    assert await alarms(url) == [
        ("hr_high", "active", "unacknowledged", two, to_datetime(after(10 * MINUTE + 1)), None),
        ("spo2_low", "active", "unacknowledged", two, to_datetime(after(12 * MINUTE + 1)), None),
    ]


async def test_technical_conditions_of_rules_that_are_gone_are_cleared(url: str) -> None:
    """The alarm closes itself, by the version that raised it; what is about a person waits for duty."""
    async with Line(quiet(url)) as line:
        one = await change(line, url, rule_file(PULSE, PLUG, SILENCE))
        for minute in range(11):
            await pulse(minute, 140)(line)
        await beat(11, mains=False)(line)
        await beat(11, "BELL-2")(line)
        await line.tick(11.5 * MINUTE)
        await line.tick(42 * MINUTE)
        before = {kind: condition for kind, condition, *_ in await alarms(url)}
        assert before == dict.fromkeys(("hr_high", "mains_lost", "device_silent"), "active")
        await change(line, url, rule_file())
        await line.tick(43 * MINUTE)
        found = await alarms(url)
        assert {(kind, handling) for kind, _, handling, *_ in found} == {
            ("hr_high", "unacknowledged"),
            ("mains_lost", "closed"),
            ("device_silent", "closed"),
        }
        said = "SELECT DISTINCT rule_set_id FROM alarm_log WHERE verb = 'closed'"
        assert await tuples(url, said) == [(one,)]
    await restored(url)
    assert await alarms(url) == found


async def test_the_version_is_seen_to_be_in_force_once_it_is_durable(url: str) -> None:
    """Not when it is written, but with the first commit after the change, which comes with the next tick."""
    async with Line(quiet(url)) as line:
        number = await apply(url, rule_file(PULSE))
        async with connect(url) as connection:
            await hear(line, url)
            assert not (await rule_sets.version(connection, number)).in_force
            await line.tick(1)
            assert (await rule_sets.version(connection, number)).in_force
            assert [each.in_force for each in await rule_sets.versions(connection, 9)] == [True, False]
    assert metrics.RULE_VERSION._value.get() == number
    assert await tuples(url, "SELECT rule_set_id FROM ingest_ledger") == [(number,)]


async def test_a_wrong_file_changes_nothing(url: str) -> None:
    """However it came into the table: the bridge says why it refuses it and goes on; so does the next."""
    async with Line(quiet(url)) as line:
        good = await change(line, url, rule_file(PULSE))
        bad = await change(line, url, rule_file('[[rule]]\nkind = "hr_high"\nwhen = "pulse > 1"\n'))
        assert line.engine.rules.text == rule_file(PULSE)
        await line.tick(1)
        async with connect(url) as connection:
            refused = (await rule_sets.version(connection, bad)).refused
            assert "there is no field 'pulse'" in str(refused)
            assert (await rule_sets.version(connection, good)).in_force
    again = await restored(url)
    assert again.engine.rules.text == rule_file(PULSE)


async def test_of_several_versions_the_newest_good_one_counts(url: str) -> None:
    """Applied while the bridge was busy or away, those between are passed over, and so is a wrong one."""
    async with Line(quiet(url)) as line:
        await apply(url, rule_file(OXYGEN))
        newest = await apply(url, rule_file(PULSE))
        await apply(url, "nonsense")
        await hear(line, url)
        assert (line.bridge.store.rule_set_id, line.engine.rules.text) == (newest, rule_file(PULSE))
        line.bridge._learn_news()
        assert line.bridge.store.rule_set_id == newest


# ------------------------------------------------------------------------------------------------- crashes


STORY: Final[dict[str, Step]] = {
    "pulse": pulse(1, 140),
    "plug": beat(1.5, mains=False),
    "more pulse": pulse(2, 140, spo2=85),
    "tick": lambda line: line.tick(2.5 * MINUTE),
}


@pytest.mark.parametrize("checkpoint", ["none", "before", "after", "piece by piece"])
@pytest.mark.parametrize(
    "second", [(OXYGEN, PULSE), (PLUG,), (SILENCE, PULSE, PLUG)], ids=["new", "less", "moved"]
)
async def test_after_a_crash_the_state_is_what_it_was(
    url: str, checkpoint: str, second: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any batch before or after a change, wherever checkpoints lie: what a restore makes is the same."""
    if checkpoint == "piece by piece":
        monkeypatch.setattr("rules.engine.PIECE", 1)
        monkeypatch.setattr("ingest.bridge.PIECE", 1)
        monkeypatch.setattr("store.checkpoints.AT_ONCE", 1)
    await script(
        url, "INSERT INTO devices (device, region) VALUES ('BAND-1', '430602'), ('BELL-1', '430602')"
    )
    async with Line(quiet(url)) as line:
        if checkpoint == "piece by piece":
            line.bridge.store.checkpoints._every = 0.0
        await change(line, url, rule_file(PULSE, PLUG))
        for text in (None, rule_file(*second), rule_file(PULSE, OXYGEN, PLUG, top=120)):
            if text:
                if checkpoint == "before":
                    line.bridge.store.checkpoints.soon()
                    await line.tick(3 * MINUTE)
                await change(line, url, text)
                if checkpoint == "after":
                    line.bridge.store.checkpoints.soon()
            for name, step in STORY.items():
                await step(line)
                running = state(line.engine)
                await line.crash()
                if checkpoint == "none":
                    await script(url, "DELETE FROM engine_checkpoints")
                assert state((await restored(url)).engine) == running, (name, text)


async def test_killed_between_the_change_and_its_commit(url: str) -> None:
    """What was applied is in the database, so the next bridge goes through the same change, once."""
    async with Line(quiet(url)) as line:
        one = await change(line, url, rule_file(PLUG))
        await beat(1, mains=False)(line)
        two = await change(line, url, rule_file(PULSE))
        assert [handling for _, _, handling, *_ in await alarms(url)] == ["unacknowledged"]
    async with Line(quiet(url)) as again:
        assert again.bridge.store.rule_set_id == two
        await again.tick(2 * MINUTE)
        assert [handling for _, _, handling, *_ in await alarms(url)] == ["closed"]
    assert await tuples(url, "SELECT verb, rule_set_id FROM alarm_log ORDER BY log_id") == [
        ("raised", one),
        ("closed", one),
    ]


async def test_a_lost_reply_to_the_commit_of_a_change_is_settled(url: str) -> None:
    """What the change closed is closed once, whether or not the commit had landed."""
    for minute, landed in ((1, True), (5, False)):
        async with Cutter(url) as proxy, Line(quiet(proxy.url)) as line:
            await change(line, url, rule_file(PLUG))
            await beat(minute, mains=False)(line)
            await change(line, url, rule_file(PULSE))
            (proxy.cut_reply if landed else proxy.cut_command)()
            await line.tick((minute + 1) * MINUTE)
            assert proxy.cuts == 1
            await line.tick((minute + 2) * MINUTE)
    verbs = await tuples(url, "SELECT verb FROM alarm_log ORDER BY log_id")
    assert verbs == [("raised",), ("closed",)] * 2


async def test_a_start_with_another_file_is_a_change_like_any_other(url: str, tmp_path: Path) -> None:
    """Where none was applied the settings say the rules; what was known goes over, what is gone clears."""
    first, second = tmp_path / "one.toml", tmp_path / "two.toml"
    first.write_text(rule_file(PULSE, PLUG), "utf-8")
    second.write_text(rule_file(OXYGEN, PULSE), "utf-8")
    async with Line(quiet(url, rules=str(first))) as line:
        for minute in range(7):
            await pulse(minute, 140, spo2=85)(line)
        await beat(6.5, mains=False)(line)
    async with Line(quiet(url, rules=str(second))) as line:
        for minute in range(7, 16):
            await pulse(minute, 140, spo2=85)(line)
    assert await alarms(url) == [
        ("mains_lost", "cleared", "closed", 1, to_datetime(after(6.5 * MINUTE)), (await closing(url))),
        ("hr_high", "active", "unacknowledged", 2, to_datetime(after(10 * MINUTE + 1)), None),
        ("spo2_low", "active", "unacknowledged", 2, to_datetime(after(12 * MINUTE + 1)), None),
    ]
    async with connect(url) as connection:
        found = await rule_sets.versions(connection, 9)
    assert [(each.version, each.applied_at, each.in_force) for each in found] == [
        (2, None, True),
        (1, None, False),
    ]


async def closing(url: str) -> Any:  # noqa: ANN401 - a time
    """Return when the one closed alarm was closed."""
    ((at,),) = await tuples(url, "SELECT closed_at FROM alarms WHERE closed_at IS NOT NULL")
    return at


async def test_what_was_applied_goes_before_the_settings(url: str, tmp_path: Path) -> None:
    """A start with another file in the settings keeps to what was applied last."""
    other = tmp_path / "other.toml"
    other.write_text(rule_file(OXYGEN), "utf-8")
    number = await apply(url, rule_file(PULSE))
    async with Line(quiet(url, rules=str(other))) as line, connect(url) as connection:
        assert (line.bridge.store.rule_set_id, line.engine.rules.text) == (number, rule_file(PULSE))
        await line.tick(1)
        assert (await rule_sets.version(connection, number)).in_force
    other.write_text("nonsense", "utf-8")
    with pytest.raises(UsageError, match="not TOML"):
        await restored(url, rules=str(other))


async def test_rules_that_this_release_cannot_read_are_not_in_the_way(url: str) -> None:
    """Batches that an older release judged by a file of its own are judged by the rules that are to come."""
    async with Line(quiet(url)) as line:
        await pulse(1, 140)(line)
        await beat(1)(line)
    await script(url, "UPDATE rule_sets SET source = 'of old'")
    number = await apply(url, rule_file(PULSE))
    async with Line(quiet(url)) as line:
        assert (line.bridge.store.rule_set_id, line.engine.rules.text) == (number, rule_file(PULSE))
        for minute in (11, 21):
            await pulse(minute, 140)(line)
    assert [kind for kind, *_ in await alarms(url)] == ["hr_high"]
    await script(url, "UPDATE rule_sets SET source = 'of old'")
    with pytest.raises(UsageError, match=f"the rules applied last, version {number}"):
        await restored(url)


async def test_a_person_s_own_limit_counts_for_what_they_wear(url: str) -> None:
    """Also after a restart; who wears something else later has it there."""
    await script(
        url,
        "INSERT INTO people (person, name) VALUES ('P17', '张桂英');"
        " INSERT INTO devices (device, region, person_id) SELECT 'BAND-1', '430602', person_id FROM people",
    )
    await apply(url, rule_file(PULSE))
    async with Line(quiet(url)) as line, connect(url) as connection:
        await registry.set_person(connection, "P17", {"top": 150.0}, "一级")
        async for part in restore.devices(line.bridge.store):
            line.bridge._learn(part)
        for minute in range(12):
            await pulse(minute, 140)(line)
    assert await alarms(url) == []
    async with Line(quiet(url)) as line:
        for minute in range(12, 24):
            await pulse(minute, 140)(line)
        assert await alarms(url) == []
        for minute in range(24, 36):
            await pulse(minute, 151)(line)
    ((kind, _, _, _, raised, _),) = await alarms(url)
    assert (kind, raised) == ("hr_high", to_datetime(after(34 * MINUTE + 1)))
    ((detail,),) = await tuples(url, "SELECT detail FROM alarms")
    assert detail["top"] == 150


# --------------------------------------------------------------------------------------------- on real parts


async def test_rules_change_under_load_and_no_message_is_dropped(
    installed: Installation, scratch: Path
) -> None:
    """Each version is in force when the command returns; whatever was published meanwhile is stored once."""
    ended = asyncio.Event()
    sending = asyncio.create_task(asyncio.to_thread(publish_until, ended, installed.broker.town_url))
    texts = [rule_file(PULSE), "nonsense", rule_file(OXYGEN, PLUG), rule_file(PULSE, SILENCE)]
    for number, text in enumerate(texts, 1):
        file = scratch / f"{number}.toml"
        file.write_text(text, "utf-8")
        code, output, errors = await installed.carebell("rule", "apply", str(file))
        if text == "nonsense":
            assert (code, f"{file}: not TOML" in errors) == (1, True), errors
        else:
            assert (code, "is in force since" in output) == (0, True), errors
    ended.set()
    sent = await sending
    assert sent > 100
    count = "SELECT count(*), count(DISTINCT seq) FROM vitals"
    assert await installed.until_rows(count, lambda found: found[0][0] >= sent) == [(sent, sent)]
    used = await installed.rows(
        "SELECT rule_set_id FROM rule_sets WHERE used_at IS NOT NULL ORDER BY used_at"
    )
    assert used == [(1,), (2,), (3,), (4,)]
    assert await installed.rows("SELECT DISTINCT rule_set_id FROM ingest_ledger ORDER BY 1") == used


def publish_until(ended: asyncio.Event, url: str) -> int:
    """Publish numbered pulses, each when the broker has the one before; return how many."""
    with Client(url) as town:
        for seq in itertools.count():
            if ended.is_set():
                return seq
            body = json.dumps({"hr": 70, "seq": seq, "ts": int(time.time() * 1000)})
            assert not town.publish(uplink(REGION, f"BAND-{seq % 20}", "vitals"), body.encode()).is_failure
    return 0


async def test_kill_9_around_a_change(installed: Installation, scratch: Path) -> None:
    """Killed before, while or after the bridge takes new rules, it ends with them, and alarms come once each.

    A pulse that was pending when the bridge died fires with the reading with which it would have; a condition
    of a rule that is gone is closed once.
    """
    first, second = scratch / "first.toml", scratch / "second.toml"
    first.write_text(rule_file(SHORT, PLUG), "utf-8")
    second.write_text(rule_file(OXYGEN, SHORT), "utf-8")
    begin = int(time.time() * 1000)
    with Client(installed.broker.town_url) as town:
        for round_, delay in enumerate((0.0, 0.3, 0.45, 0.6, 1.0)):
            band, bell = f"BAND-{round_}", f"BELL-{round_}"

            def pulse_at(seconds: int, band: str = band) -> None:
                body = {"hr": 140, "ts": begin + seconds * 1000}
                assert not town.publish(uplink(REGION, band, "vitals"), json.dumps(body).encode()).is_failure

            assert (await installed.carebell("rule", "apply", str(first)))[0] == 0
            pulse_at(0)
            pulse_at(60)
            town.publish(uplink(REGION, bell, "heartbeat"), b'{"mains": false}')
            await installed.until_rows(f"SELECT FROM alarms {of(bell)}", bool)
            await installed.until_rows(f"SELECT FROM vitals {of(band)}", lambda found: len(found) == 2)
            applying = asyncio.create_task(installed.carebell("rule", "apply", str(second)))
            await asyncio.sleep(delay)
            await installed.kill()
            await applying
            await installed.start()
            used = "SELECT used_at IS NOT NULL FROM rule_sets ORDER BY rule_set_id DESC LIMIT 1"
            assert await installed.until_rows(used, [(True,)].__eq__) == [(True,)]
            closed = f"SELECT verb FROM alarm_log JOIN alarms USING (alarm_id) {of(bell)} ORDER BY log_id"
            assert await installed.until_rows(closed, lambda found: len(found) > 1) == [
                ("raised",),
                ("closed",),
            ]
            assert await installed.rows(f"SELECT FROM alarms {of(band)}") == []
            pulse_at(120)
            raised = f"SELECT kind, count FROM alarms {of(band)}"
            assert await installed.until_rows(raised, bool) == [("hr_high", 1)]


def of(device: str) -> str:
    """Return the join and condition that choose the rows of a device."""
    return f"JOIN devices USING (device_id) WHERE device = '{device}'"
