"""Dead letters at the real command line, with a real broker, bridge and database."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ops.parts import Broker, Database
from schemas.settings import IngestSettings
from tests.installation import Installation, installation
from tests.mqtt import Client

TOPIC = "carebell/v1/430602/BAND-7/vitals"


@pytest.fixture
async def strict(fresh_mosquitto: Broker, timescale: Database, scratch: Path) -> AsyncIterator[Installation]:
    """Give an installation with its bridge running, to which strangers are unknown."""
    settings = IngestSettings(unknown_devices="dead_letter", checkpoint_every=1)
    async with installation(fresh_mosquitto, timescale.url, scratch, ingest=settings) as found:
        await found.start()
        yield found


def publish(installed: Installation, count: int, device: str = "BAND-7") -> None:
    """Send messages as a device that nobody has entered."""
    with Client(installed.broker.town_url) as client:
        for n in range(count):
            client.publish(f"carebell/v1/430602/{device}/vitals", json.dumps({"seq": n, "hr": 60 + n % 50}))


async def letters(installed: Installation) -> list[dict[str, Any]]:
    """Return what the command lists."""
    code, out, errors = await installed.carebell("dead", "list", "--json")
    assert code == 0, errors
    listed: list[dict[str, Any]] = json.loads(out)
    return listed


async def enter(installed: Installation, *devices: str) -> None:
    """Import devices from a file, as people do."""
    file = installed.scratch / "devices.csv"
    file.write_text("device,region\n" + "".join(f"{name},430602\n" for name in devices), encoding="utf-8")
    code, _, errors = await installed.carebell("device", "import", str(file))
    assert code == 0, errors


async def test_an_unknown_device_is_entered_and_its_letters_are_stored(strict: Installation) -> None:
    """A stranger's vitals are dead letters; after the import a redrive stores them at their old times."""
    publish(strict, 3)
    await strict.until_rows("SELECT count(*) FROM dead_letters", lambda rows: rows == [(3,)])
    listed = await letters(strict)
    assert [each["reason"] for each in listed] == ["unknown_device"] * 3
    code, out, _ = await strict.carebell("dead", "show", str(listed[0]["dead_letter_id"]))
    assert (code, '{"seq": 2, "hr": 62}' in out, TOPIC in out) == (0, True, True)

    code, out, _ = await strict.carebell("dead", "redrive", "--reason", "unknown_device")
    assert (code, "3 re-driven: 0 stored" in out, "3 refused again" in out) == (1, True, True)
    assert [each["tries"] for each in await letters(strict)] == [1, 1, 1]

    await enter(strict, "BAND-7")
    code, out, errors = await strict.carebell("dead", "redrive", "--reason", "unknown_device")
    assert (code, out) == (
        0,
        "3 re-driven: 3 stored, 0 stored in part, 0 stood in the history already, 0 refused again\n",
    ), errors
    stored = await strict.rows("SELECT received_at, seq FROM vitals ORDER BY seq DESC")
    assert [(at, seq) for at, seq in stored] == [
        (datetime.fromisoformat(each["received_at"]), seq)
        for each, seq in zip(listed, (2, 1, 0), strict=True)
    ]
    assert await letters(strict) == []
    code, out, _ = await strict.carebell("dead", "redrive", "--all")
    assert (code, out.startswith("0 re-driven")) == (0, True)
    assert await strict.rows("SELECT count(*) FROM vitals") == [(3,)]


async def test_without_a_bridge_letters_wait_for_one(strict: Installation) -> None:
    """The command says that they are marked; the bridge takes them when it starts."""
    publish(strict, 2)
    await strict.until_rows("SELECT count(*) FROM dead_letters", lambda rows: rows == [(2,)])
    await strict.kill()
    await enter(strict, "BAND-7")
    code, out, errors = await strict.carebell("dead", "redrive", "--topic", TOPIC)
    assert (code, out, "2 are marked: no bridge runs" in errors) == (0, "", True)
    await strict.start()
    await strict.until_rows("SELECT count(*) FROM dead_letters", lambda rows: rows == [(0,)])
    assert await strict.rows("SELECT count(*) FROM vitals") == [(2,)]


async def test_killed_in_the_midst_of_a_redrive(strict: Installation) -> None:
    """The bridge dies again and again: each letter becomes one row, and the command sees the end."""
    count, kills = 4_000, 3
    async with strict.connection.transaction():
        await strict.connection.execute(
            "INSERT INTO dead_letters (received_at, batch, topic, payload, payload_length, payload_sha256,"
            " reason, detail, whole)"
            " SELECT now() - interval '1 hour' + n * interval '1 ms', 0, %s, said, length(said), '',"
            " 'unknown_device', '', true"
            " FROM (SELECT convert_to(format(%s, n, repeat('x', 8000)), 'UTF8') AS said, n"
            "       FROM generate_series(1, %s) AS n) AS made",
            (TOPIC, '{"seq": %s, "hr": 70, "more": "%s"}', count),
        )
    await enter(strict, "BAND-7")
    waiting = asyncio.create_task(strict.carebell("dead", "redrive", "--all"))
    for kill in range(1, kills + 1):
        enough = kill * count // (kills + 2)
        await strict.until_rows(f"SELECT FROM vitals OFFSET {enough - 1} LIMIT 1", bool)
        await strict.kill()
        assert (await strict.rows("SELECT count(*) FROM dead_letters"))[0][0] > 0, "too late to show anything"
        await strict.start()
    code, out, errors = await waiting
    assert (code, out.startswith(f"{count} re-driven: {count} stored")) == (0, True), errors
    assert await strict.rows("SELECT count(*), count(DISTINCT seq) FROM vitals") == [(count, count)]
    assert await strict.rows("SELECT count(*) FROM dead_letters") == [(0,)]


async def test_purge_asks_and_deletes(strict: Installation) -> None:
    """It deletes nothing without a yes, only what is chosen, and says how many went."""
    publish(strict, 2)
    publish(strict, 1, "BAND-8")
    await strict.until_rows("SELECT count(*) FROM dead_letters", lambda rows: rows == [(3,)])
    await enter(strict, "BAND-9")
    with Client(strict.broker.town_url) as client:
        client.publish("carebell/v1/430602/BAND-9/vitals", b'{"hr": 60}')
    code, _, errors = await strict.carebell("dead", "purge", "--topic", TOPIC)
    assert (code, "Delete 2 dead letters for ever?" in errors) == (1, True)
    assert len(await letters(strict)) == 3
    for _ in range(40):  # until the bridge has made a checkpoint, no restore may miss them
        code, out, errors = await strict.carebell("dead", "purge", "--topic", TOPIC, "--yes")
        if out == "2 purged\n":
            break
        assert (code, out, "stay: a bridge that starts now" in errors) == (0, "0 purged\n", True)
        with Client(strict.broker.town_url) as client:
            client.publish("carebell/v1/430602/BAND-9/vitals", b'{"hr": 60}')
    assert [each["topic"] for each in await letters(strict)] == ["carebell/v1/430602/BAND-8/vitals"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("redrive",), "say which dead letters"),
        (("purge", "--all", "--reason", "empty"), "say which dead letters"),
        (("list", "--reason", "bored"), "--reason bored: it is one of bad_topic"),
        (("list", "--since", "yesterday"), "--since yesterday: a time is written"),
        (("show", "99"), "there is no dead letter 99"),
        (("redrive", "99"), "there are no such dead letters"),
    ],
)
async def test_odd_arguments_end_in_a_sentence(
    timescale: Database, fresh_mosquitto: Broker, scratch: Path, arguments: tuple[str, ...], said: str
) -> None:
    """Nothing is guessed, nothing is changed, and no traceback is shown."""
    async with installation(fresh_mosquitto, timescale.url, scratch) as installed:
        code, _, errors = await installed.carebell("dead", *arguments)
    assert code in (1, 2)
    assert errors.startswith("carebell: ")
    assert said in errors
