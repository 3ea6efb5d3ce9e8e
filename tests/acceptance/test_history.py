"""History that stays bounded, at the real command line: `db maintain`, `db status`, `serve`, the metrics."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops.children import child, write_config
from ops.parts import Broker, Database, free_port
from schemas.settings import DutySettings, HistorySettings
from tests.installation import Installation, installation, until
from tests.mqtt import Client


@pytest.fixture
async def still(fresh_mosquitto: Broker, timescale: Database, scratch: Path) -> AsyncIterator[Installation]:
    """Give an installation whose bridge does not run."""
    async with installation(fresh_mosquitto, timescale.url, scratch) as found:
        yield found


def _set(installed: Installation, **history: str | float) -> None:
    """Change keys of [history]."""
    section = HistorySettings.model_validate(history)
    write_config(installed.settings.model_copy(update={"history": section}), installed.config)


async def _metrics(installed: Installation) -> dict[str, float]:
    async with httpx.AsyncClient() as client:
        page = await client.get(f"http://127.0.0.1:{installed.settings.metrics.port}/metrics")
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }


async def test_what_devices_send_is_rolled_up_and_shown(installed: Installation) -> None:
    """Vitals sent over MQTT stand in their hour after `db maintain`, and `db status` tells people so."""
    with Client(installed.broker.town_url) as device:
        for hr in (70, 80, 90):
            device.publish("carebell/v1/430602/BAND-1/vitals", json.dumps({"hr": hr}))
        device.publish("carebell/v1/430602/BAND-1/activity", json.dumps({"motion": True}))
    await installed.until_rows(
        "SELECT 1 FROM vitals UNION ALL SELECT 2 FROM activity", lambda rows: len(rows) == 4
    )

    code, output, errors = await installed.carebell("db", "maintain", "--json")

    assert (code, errors) == (0, "")
    done = json.loads(output)
    assert done["rolled_up"]["rows"]["vitals"] == 3
    assert done["wrong"] == []
    assert await installed.rows("SELECT sum(n), sum(hr_sum), max(hr_max) FROM vitals_hourly") == [
        (3, 240.0, 90.0)
    ]
    assert await installed.rows("SELECT sum(n), sum(motion_true) FROM activity_daily") == [(1, 1)]
    code, output, _ = await installed.carebell("db", "status", "--json")
    assert code == 0
    found = json.loads(output)
    assert {table["table"]: table["rows"] for table in found["tables"]}["vitals"] == 3
    assert found["maintained_at"] is not None
    assert found["missing"] == []
    code, output, _ = await installed.carebell("db", "status")
    assert code == 0
    for shown in ("vitals_hourly", "1095 d", "days left", "unknown"):
        assert shown in output


async def test_a_disk_that_fills_ends_with_1_and_a_sentence(still: Installation, tmp_path: Path) -> None:
    """The work is done all the same; the sentence names the disk, on standard error."""
    _set(still, disk=str(tmp_path), disk_low=100)
    code, output, errors = await still.carebell("db", "maintain")
    assert code == 1
    assert "rolled up 0 batches" in output
    (sentence,) = errors.splitlines()
    assert sentence.startswith(f"carebell: the disk of {tmp_path} has ")
    assert len(await still.rows("SELECT 1 FROM maintenance")) == 1
    found = json.loads((await still.carebell("db", "status", "--json"))[1])
    assert found["disk"]["directory"] == str(tmp_path)
    assert 0 < found["disk"]["free_bytes"] < found["disk"]["size_bytes"]


async def test_a_directory_that_is_not_there_is_named(still: Installation) -> None:
    """A wrong history.disk is a wrong setting: exit code 2, the key and the directory in one sentence."""
    _set(still, disk="/nowhere/at/all")
    for command in ("maintain", "status"):
        code, _, errors = await still.carebell("db", command)
        assert code == 2
        assert errors.startswith("carebell: history.disk = '/nowhere/at/all' cannot be measured")
        assert "Traceback" not in errors


async def test_days_below_forty_are_refused(still: Installation) -> None:
    """A row may bear a time 30 days back: no table may be told to drop its chunk before it comes."""
    text = still.config.read_text().replace("vitals_days = 90", "vitals_days = 39")
    still.config.write_text(text)
    code, _, errors = await still.carebell("db", "maintain")
    assert code == 2
    assert "history.vitals_days = 39" in errors
    assert "40" in errors


async def test_the_second_at_once_says_so(still: Installation) -> None:
    """While another one is at work `db maintain` says that it did nothing, and ends with 0."""
    async with still.connection.transaction():
        await still.rows("SELECT pg_advisory_xact_lock(42021)")
        code, output, errors = await still.carebell("db", "maintain")
    assert (code, errors) == (0, "")
    assert output == "another `carebell db maintain` is at work: nothing done here\n"
    assert await still.rows("SELECT 1 FROM maintenance") == []


async def test_an_older_database_is_named_with_the_command_that_mends_it(still: Installation) -> None:
    """Without the migrations `db maintain` ends with 2 and says what to run; `db status` ends with 1."""
    await still.rows("DELETE FROM migrations WHERE name LIKE '0006%%' RETURNING name")
    code, _, errors = await still.carebell("db", "maintain")
    assert code == 2
    assert "0006_history: run `carebell db migrate`" in errors
    code, output, _ = await still.carebell("db", "status", "--json")
    assert code == 1
    assert json.loads(output)["missing"] == ["0006_history"]


async def test_serve_maintains_and_works_on_where_that_fails(still: Installation, tmp_path: Path) -> None:
    """`serve` runs `db maintain` by itself; that it ends with 1 is logged, and calls come through."""
    section = HistorySettings(disk=str(tmp_path), disk_low=100)
    duty = DutySettings(port=free_port(), tokens={"王芳": "0" * 64})
    write_config(still.settings.model_copy(update={"history": section, "duty": duty}), still.config)
    log = still.scratch / "serve.log"
    ready = f"http://127.0.0.1:{still.settings.metrics.port}/readyz"
    async with child("serve", "--config", str(still.config), ready=ready, log=log):
        assert await still.until_rows("SELECT 1 FROM maintenance", bool) == [(1,)]

        async def said() -> str:
            return log.read_text()

        sentence = "carebell db maintain ended with 1"
        assert sentence in await until(said, lambda text: sentence in text)
        with Client(still.broker.town_url) as device:
            device.publish("carebell/v1/430602/BELL-1/sos")
        assert await still.until_rows("SELECT kind FROM alarms", bool) == [("sos",)]


async def test_the_bridge_tells_sizes_and_the_last_maintain(still: Installation, tmp_path: Path) -> None:
    """Disk, database and the time of the last maintain are metrics of the bridge."""
    _set(still, disk=str(tmp_path), disk_low=0)
    assert (await still.carebell("db", "maintain"))[0] == 0
    await still.start()
    found = await until(
        lambda: _metrics(still), lambda found: found.get("carebell_maintained_timestamp_seconds", 0) > 0
    )
    ((maintained, size),) = await still.rows(
        "SELECT extract(epoch FROM maintained_at)::float8, pg_database_size(current_database())"
        " FROM maintenance"
    )
    assert found["carebell_maintained_timestamp_seconds"] == pytest.approx(maintained, abs=1e-3)
    assert 0.5 < found["carebell_database_bytes"] / size < 2
    assert 0 < found["carebell_disk_free_bytes"] < found["carebell_disk_size_bytes"]


async def test_a_disk_that_cannot_be_seen_has_no_metric(installed: Installation) -> None:
    """The database's disk lies in another root here, out of sight: no figure is better than 0."""
    found = await until(
        lambda: _metrics(installed), lambda found: found.get("carebell_database_bytes", 0) > 0
    )
    assert found["carebell_database_bytes"] > 1_000_000
    assert "carebell_disk_free_bytes" not in found
