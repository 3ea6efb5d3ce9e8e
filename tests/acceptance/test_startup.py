"""What ops sees when something is wrong at the start: one clear sentence, and a retry where time can help."""

import asyncio
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import httpx

from ops.children import child, write_config
from ops.parts import Broker, Database, free_port
from schemas.settings import BrokerSettings, DatabaseSettings, DutySettings
from tests.installation import Installation, installation, until
from tests.mqtt import Client


def _rewrite(installed: Installation, **sections: object) -> None:
    write_config(installed.settings.model_copy(update=sections), installed.config)


def _child_of(pid: int, command: str) -> int:
    """Return the id of the child process that runs a command."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    (found,) = (child for child in children if command.encode() in _command_line(child))
    return int(found)


def _command_line(pid: str) -> bytes:
    """Return the command line of a process, nothing of one that has ended, as `db maintain` soon does."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _sentence(errors: str) -> str:
    """Return what was said, and see that it is no traceback."""
    assert "Traceback" not in errors, errors
    said = [line for line in errors.splitlines() if line.startswith("carebell: ")]
    assert len(said) == 1, errors
    return said[0]


async def test_wrong_settings_are_named_before_anything_starts(installed: Installation) -> None:
    """Key, value and what is allowed stand in one sentence; the exit code is 2."""
    text = installed.config.read_text()
    installed.config.write_text(text.replace(f"port = {installed.broker.port}", 'port = "abc"'))
    code, _, errors = await installed.carebell("ingest")
    assert code == 2
    assert "broker.port = 'abc'" in _sentence(errors)


async def test_a_port_in_use_is_one_sentence(installed: Installation) -> None:
    """A second bridge on the same metrics port ends with exit code 1 and says which setting to change."""
    code, _, errors = await installed.carebell("ingest")
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{installed.settings.metrics.port}" in _sentence(errors)


async def test_the_desk_says_that_its_port_is_in_use(installed: Installation) -> None:
    """So does the desk."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        _rewrite(installed, duty=installed.settings.duty.model_copy(update={"port": port}))
        code, _, errors = await installed.carebell("duty", "--insecure")
    assert code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in _sentence(errors)


async def test_a_wrong_password_is_one_sentence_and_the_end(
    fresh_mosquitto: Broker, timescale: Database, scratch: Path
) -> None:
    """Time cannot help where the broker refuses the password."""
    async with installation(fresh_mosquitto, timescale.url, scratch) as installed:
        wrong = installed.settings.broker.model_copy(update={"password": "wrong"})
        _rewrite(installed, broker=wrong)
        code, _, errors = await installed.carebell("ingest")
    assert code == 1
    assert "refuses user 'carebell'" in _sentence(errors)
    assert "wrong" not in errors


async def test_commands_say_that_the_database_is_away(installed: Installation) -> None:
    """Without a database a command ends with exit code 1 and one sentence."""
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/nowhere"
    _rewrite(installed, database=DatabaseSettings(url=url))
    for command in (("db", "status"), ("db", "migrate"), ("alarm", "list")):
        code, _, errors = await installed.carebell(*command)
        assert code == 1, command
        assert "database" in _sentence(errors)


async def test_missing_migrations_are_named_with_the_command_that_mends_it(
    fresh_mosquitto: Broker, timescale: Database, scratch: Path
) -> None:
    """A bridge on a database of an older version does not start, and says what to run."""
    async with installation(fresh_mosquitto, timescale.url, scratch) as installed:
        await installed.connection.execute("DELETE FROM migrations WHERE name LIKE '0004%'")
        code, _, errors = await installed.carebell("ingest")
        assert code == 2
        assert "carebell db migrate" in _sentence(errors)
        assert (await installed.carebell("db", "status"))[0] == 1


async def test_a_bridge_waits_for_broker_and_database_and_says_so(
    fresh_mosquitto: Broker, timescale: Database, scratch: Path
) -> None:
    """Started before its broker, the bridge says where it looks, waits, and works when the broker comes."""
    async with installation(fresh_mosquitto, timescale.url, scratch) as installed:
        fresh_mosquitto.stop()
        log = scratch / "ingest.log"
        starting = asyncio.create_task(installed.start())

        async def said() -> str:
            return log.read_text() if log.exists() else ""

        sentence = f"no MQTT broker answers at {fresh_mosquitto.host}:{fresh_mosquitto.port}"
        assert sentence in await until(said, lambda text: sentence in text)
        fresh_mosquitto.start()
        await starting
        with Client(fresh_mosquitto.town_url) as device:
            device.publish("carebell/v1/430602/BELL-1/sos")
        assert await installed.until_rows("SELECT kind FROM alarms", bool) == [("sos",)]


async def test_serve_refuses_what_is_not_safe(installed: Installation) -> None:
    """Without tokens, without a login at the broker or on an unreal clock, `serve` ends with exit code 2."""
    safe = {"tokens": {"王芳": "0" * 64}}
    duty = installed.settings.duty.model_copy(update=safe)
    for sections, named in (
        ({}, "duty.tokens"),
        ({"duty": duty, "broker": BrokerSettings()}, "broker.username"),
        ({"duty": duty, "clock": installed.settings.clock.model_copy(update={"speed": 60.0})}, "clock"),
    ):
        _rewrite(installed, **sections)
        code, _, errors = await installed.carebell("serve")
        assert code == 2, errors
        assert named in _sentence(errors)


async def test_serve_starts_a_killed_bridge_again(
    fresh_mosquitto: Broker, timescale: Database, scratch: Path
) -> None:
    """Under `serve`, kill -9 of the bridge costs the time of a restart, and the desk stays."""
    async with installation(fresh_mosquitto, timescale.url, scratch) as installed:
        duty = DutySettings(port=free_port(), tokens={"王芳": "0" * 64})
        _rewrite(installed, duty=duty)
        metrics = f"http://127.0.0.1:{installed.settings.metrics.port}/readyz"
        desk = f"http://127.0.0.1:{duty.port}/healthz"
        async with (
            child(
                "serve", "--config", str(installed.config), ready=metrics, log=scratch / "serve.log"
            ) as serve,
            httpx.AsyncClient() as client,
        ):
            os.kill(_child_of(serve.pid, "ingest"), signal.SIGKILL)

            async def up() -> tuple[int, int]:
                with suppress(httpx.HTTPError):
                    return (await client.get(desk)).status_code, (await client.get(metrics)).status_code
                return 0, 0

            await until(up, lambda codes: codes != (200, 200))
            with Client(fresh_mosquitto.town_url) as device:
                device.publish("carebell/v1/430602/BELL-1/sos")
            assert await until(up, lambda codes: codes == (200, 200)) == (200, 200)
            assert await installed.until_rows("SELECT kind FROM alarms", bool) == [("sos",)]
