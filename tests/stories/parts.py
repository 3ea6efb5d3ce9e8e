"""A story told on real parts: mosquitto, TimescaleDB and the bridge's own process, on its injected clock.

The clock runs so fast that the story takes the seconds it is given. What the database has in the end is
written into a Book from its own log, line by line, and must agree with the rows of its alarms.
"""

import asyncio
import json
import time
from pathlib import Path
from typing import Final

from duty import alarms
from duty.handling import Verb
from ops.children import write_config
from ops.parts import Broker
from schemas import topics
from schemas.alarms import AREA_DEVICE, Outcome
from schemas.clock import SECOND, Clock, to_microseconds
from schemas.settings import ClockSettings, IngestSettings
from tests.installation import Installation, installation, until
from tests.stories.book import Alarm, Book, Entry
from tests.stories.devices import Devices
from tests.stories.kit import REGION, Message, Step, Story

LEAD: Final = 5.0
"""Real seconds before the story in which the bridge starts: it must be ready by then."""
TICKS: Final = 2.0
"""Real seconds after the story in which the last ticks come."""
_VERBS: Final = {"raised": "raise", "repeated": "raise", "stepped": "step", "suppressed": "suppress"} | {
    "unsuppressed": "unsuppress",
    "cleared": "clear",
    "closed": "clear",
}
_WATCH: Final = """
CREATE TABLE stood AS SELECT * FROM alarms;
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO stood SELECT NEW.*; RETURN NULL; END $$;
CREATE TRIGGER keep AFTER INSERT OR UPDATE ON alarms FOR EACH ROW EXECUTE FUNCTION keep()
"""
"""Keeps each state in which an alarm ever stood."""
_LOG: Final = """
WITH line AS (
    SELECT *, row_number() OVER (PARTITION BY alarm_id ORDER BY log_id) AS version FROM alarm_log
)
SELECT at, CASE WHEN actor <> 'carebell' AND verb = 'closed' THEN 'close' ELSE verb END, device, kind,
       severity, quality, count, suppressed IS NOT NULL, condition = 'cleared',
       closed_at IS NULL, stood.detail
FROM line JOIN stood USING (alarm_id, version) JOIN devices USING (device_id)
ORDER BY log_id
"""
"""Each line of the log with its alarm as it stood then: a line is written whenever the row changes."""


def tell(story: Story, broker: Broker, url: str, scratch: Path, seconds: float) -> Book:
    """Tell a story in so many real seconds and return its alarms."""
    return asyncio.run(_tell(story, broker, url, scratch, seconds))


async def _tell(story: Story, broker: Broker, url: str, scratch: Path, seconds: float) -> Book:
    speed = max(1.0, (story.end - story.begin) / SECOND / seconds)
    ingest = IngestSettings(max_registered=1_000_000)
    if story.rules:
        ingest = ingest.model_copy(update={"rules": str(scratch / "rules.toml")})
        (scratch / "rules.toml").write_text(story.rules, encoding="utf-8")
    async with installation(broker, url, scratch, ingest=ingest) as installed:
        await _register(installed, story)
        await installed.connection.execute(_WATCH.encode())
        clock = await _start(installed, story.begin, speed)
        devices = await Devices.connect(broker)
        await _play(story, installed, devices, clock)
        devices.close()
        await asyncio.sleep(max(0.0, clock.seconds_until(story.end)) + TICKS)
        return await _book(installed)


async def _start(installed: Installation, begin: int, speed: float, lead: float = LEAD) -> Clock:
    """Start the bridge before the story; where it takes longer, wind its clock back and start again."""
    settings = ClockSettings(origin=time.time() + lead, start=begin / SECOND, speed=speed)
    installed.settings = installed.settings.model_copy(update={"clock": settings})
    write_config(installed.settings, installed.config)
    await installed.start()
    late = -settings.clock().seconds_until(begin)
    if late < 0:
        return settings.clock()
    await _stop(installed)
    return await _start(installed, begin, speed, 1.5 * (lead + late))


async def _stop(installed: Installation) -> None:
    if installed.bridge and installed.bridge.returncode is None:
        installed.bridge.terminate()
        await installed.bridge.wait()


async def _register(installed: Installation, story: Story) -> None:
    """Enter devices and their people as an import does."""
    connection = installed.connection
    people = {each.person: each for each in story.given if each.person}
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO people (person, name, care_level, thresholds) VALUES (%s, %s, %s, %s::jsonb)",
            [(name, name, one.care_level, json.dumps(one.thresholds)) for name, one in people.items()],
        )
        await cursor.execute(
            "INSERT INTO devices (device, region, model, gateway, heartbeat_seconds, person_id)"
            " SELECT device, region, model, gateway, heartbeat, person_id FROM"
            " unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::text[])"
            " AS given(device, region, model, gateway, heartbeat, person) LEFT JOIN people USING (person)",
            [
                [getattr(each, column) for each in story.given]
                for column in ("device", "region", "model", "gateway", "heartbeat", "person")
            ],
        )


async def _play(story: Story, installed: Installation, devices: Devices, clock: Clock) -> None:
    """Let the steps happen, each at its time; the last one is waited for until the broker has it."""
    regions = {each.device: each.region for each in story.given}
    for number, step in enumerate(story.steps):
        if (wait := clock.seconds_until(step.at)) > 0 or number % 500 == 0:
            await asyncio.sleep(max(0.0, wait))
        if isinstance(step.what, Message):
            device, channel, payload, retained = step.what
            topic = topics.uplink(regions.get(device, REGION), device, channel)
            await devices.publish(topic, payload, retained=retained)
        else:
            await _do(step, installed, clock)
    await devices.all_taken()


async def _do(step: Step, installed: Installation, clock: Clock) -> None:
    match step.what:
        case "close":
            query = "SELECT alarm_id FROM duty_alarms WHERE device = %s AND kind = %s AND closed_at IS NULL"
            ((alarm_id,),) = await until(lambda: installed.rows(query, *step.words), bool)
            for verb, outcome in ((Verb.ACKNOWLEDGE, None), (Verb.CLOSE, Outcome.OTHER_HELP)):
                await alarms.handle(
                    installed.connection, alarm_id, verb, "王芳", clock.now(), outcome=outcome
                )
        case "kill":
            await installed.kill()
        case "restart":
            await _stop(installed)
            await installed.start()


async def _book(installed: Installation) -> Book:
    """Write the database's log into a book; no change of an alarm may be without its line."""
    rows = await installed.rows(_LOG)
    assert len(rows) == (await installed.rows("SELECT count(*) FROM stood"))[0][0]
    return Book(
        Entry(to_microseconds(at), _VERBS.get(verb, verb), Alarm(device.removeprefix(AREA_DEVICE), *stands))
        for at, verb, device, *stands in rows
    )
