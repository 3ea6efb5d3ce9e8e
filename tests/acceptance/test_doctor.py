"""`carebell doctor` on a good installation and on bad ones: what it finds, and that it says what to do."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ops.children import write_config
from ops.doctor.broker import Visit, _limits
from ops.doctor.finding import State
from ops.parts import Broker, Database
from schemas.settings import DutySettings
from tests.installation import Installation, installation
from tests.mqtt import Client
from tests.services import set_fsync

ENTER = """
INSERT INTO regions (region, name) VALUES ('430602', '岳阳楼区');
INSERT INTO people (name, phone) VALUES ('张桂英', '13900000001');
INSERT INTO contacts (person_id, rank, name, phone) SELECT person_id, 1, '李梅', '13900000002' FROM people;
INSERT INTO devices (device, region, person_id) SELECT 'BELL-1', '430602', person_id FROM people;
"""


@pytest.fixture
def synced(timescale: Database) -> Iterator[Database]:
    """Give a database whose server waits for the disk, as the tests' shared servers do not."""
    set_fsync(timescale.url, on=True)
    yield timescale
    set_fsync(timescale.url, on=False)


@pytest.fixture
async def good(fresh_mosquitto: Broker, synced: Database, scratch: Path) -> AsyncIterator[Installation]:
    """Give an installation as it should be, its bridge not yet started."""
    async with installation(fresh_mosquitto, synced.url, scratch) as found:
        settings = found.settings.model_copy(update={"duty": DutySettings(tokens={"王芳": "0" * 64})})
        write_config(settings, found.config)
        await found.connection.execute(ENTER)
        yield found


async def wrong(installed: Installation) -> dict[str, str]:
    """Return what the doctor calls wrong, part and check to what it says; exit code and report must agree."""
    code, output, errors = await installed.carebell("doctor", "--json")
    assert "Traceback" not in errors
    findings = json.loads(output)
    faults = [each for each in findings if each["state"] == "wrong"]
    found = {f"{each['part']}: {each['check']}": f"{each['found']}: {each['advice']}" for each in faults}
    assert code == (1 if found else 0)
    assert all(each["advice"] for each in findings if each["state"] != "ok")
    return found


async def last_message(installed: Installation) -> str:
    """Return what the doctor thinks of the last message."""
    _, output, _ = await installed.carebell("doctor", "--json")
    return str(next(each["state"] for each in json.loads(output) if each["check"] == "last message"))


async def test_a_good_installation_has_nothing_wrong(good: Installation) -> None:
    """With everything in place the doctor finds nothing wrong, and looked at each part."""
    await good.start()
    assert await last_message(good) == "warning"
    with Client(good.broker.town_url) as device:
        device.publish("carebell/v1/430602/BELL-1/heartbeat")
    await good.until_rows("SELECT FROM heartbeats", bool)
    assert await last_message(good) == "ok"
    assert await wrong(good) == {}
    code, output, _ = await good.carebell("doctor")
    assert code == 0
    for part in ("settings", "broker", "database", "registry", "rules", "boards", "bridge"):
        assert part in output


async def test_what_is_away_is_named(good: Installation) -> None:
    """Without bridge, broker and database the doctor says so of each, and of nothing else."""
    assert set(await wrong(good)) == {"bridge: running"}
    await asyncio.to_thread(good.broker.stop)
    assert set(await wrong(good)) == {"bridge: running", "broker: login"}
    good.config.write_text(good.config.read_text().replace(good.url, "postgresql://nobody@127.0.0.1:1/none"))
    assert set(await wrong(good)) == {"bridge: running", "broker: login", "database: answers"}


async def test_settings_that_are_not_for_real_people_are_named(good: Installation) -> None:
    """No login, no token, an injected clock and a broken rule file are each named with what to do."""
    rules = good.scratch / "rules.toml"
    rules.write_text("[[rule]]\nkind = 'sos'\n")
    text = good.config.read_text()
    text = text.replace('username = "carebell"', 'username = ""').replace('rules = ""', f'rules = "{rules}"')
    text = text.replace("speed = 1.0", "speed = 2.0").replace('"王芳" =', "#")
    good.config.write_text(text)
    found = await wrong(good)
    assert {"settings: broker login", "settings: desk tokens", "settings: clock", "rules: file"} <= set(found)
    assert "broker: login" in found
    assert "rule 1: when: is missing" in found["rules: file"]


async def test_a_secret_that_everybody_reads_is_a_warning(good: Installation) -> None:
    """A password file with the mode 644 is looked at, one with 640 is well."""
    password = good.scratch / "password"
    password.write_text(good.settings.broker.password)
    text = good.config.read_text()
    good.config.write_text(text.replace('password_file = ""', f'password_file = "{password}"'))
    states = {}
    for mode in (0o644, 0o640):
        password.chmod(mode)
        _, output, _ = await good.carebell("doctor", "--json")
        (finding,) = (each for each in json.loads(output) if each["check"] == "broker.password_file")
        states[mode] = finding["state"]
    assert states == {0o644: "warning", 0o640: "ok"}


async def test_a_broker_that_refuses_what_the_bridge_needs_is_named(good: Installation) -> None:
    """An ACL that does not let the bridge write to devices is found, and so is an open broker."""
    home = next(good.scratch.rglob("mosquitto.conf")).parent
    acl = (home / "acl").read_text()
    conf = (home / "mosquitto.conf").read_text()
    (home / "mosquitto.conf").write_text(conf.replace("allow_anonymous false", "allow_anonymous true"))
    await asyncio.to_thread(good.broker.restart)
    found = await wrong(good)
    assert "broker: without login" in found
    for ours in ("topic write carebell/down/v1/#", "topic readwrite carebell/unstored/v1/#"):
        assert ours in acl
        acl = acl.replace(ours, "")
    (home / "acl").write_text(acl)
    await asyncio.to_thread(good.broker.restart)
    assert {"broker: may write to devices", "broker: may announce"} <= set(await wrong(good))


async def test_a_broker_that_forgets_sessions_is_named(
    iotcore: Broker, native: Database, scratch: Path
) -> None:
    """On rumqttd the doctor finds that the session is not kept."""
    async with installation(iotcore, native.url, scratch) as found:
        assert "broker: session kept" in await wrong(found)


async def test_the_doctor_asks_for_nothing_that_a_fleet_has_retained(good: Installation) -> None:
    """A million retained messages must not come down on a look at a subscription."""
    with Client(good.broker.town_url) as device:
        device.publish("carebell/v1/430602/BELL-1/status", "online", retain=True)

    def look() -> bool:
        with Visit(good.settings.broker) as visit:
            visit.subscribe("carebell/v1/#")
            visit.publish("carebell/down/v1/000000/doctor/alarm", "{}")  # answered after what was retained
            return visit.messages.empty()

    assert await asyncio.to_thread(look)


async def test_a_database_that_is_not_safe_is_named(good: Installation) -> None:
    """A commit that does not wait for the disk, and a migration that is missing, are each named."""
    name = good.url.rpartition("/")[2].partition("?")[0]
    await good.connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())
    assert "database: synchronous_commit" in await wrong(good)
    await good.connection.execute("DELETE FROM migrations WHERE name LIKE '0005%'")
    assert "0005_registry" in (await wrong(good))["database: migrations"]


async def test_a_board_that_cannot_be_read_is_named(good: Installation) -> None:
    """A view that Grafana's role may not read is named, and of one that was dropped the query that fails."""
    await good.connection.execute("REVOKE SELECT ON board_open_alarms FROM carebell_board")
    assert (await wrong(good))["boards: carebell_board"].startswith("board_open_alarms")
    await good.connection.execute("DROP VIEW board_open_alarms CASCADE")
    found = await wrong(good)
    assert any(check.startswith("boards: queries") for check in found)


def test_limits_of_a_broker_that_matter_are_named() -> None:
    """QoS 0 only and no wildcards are wrong, a small packet is looked at, nothing said is no limit."""
    bad = {"MaximumQoS": 0, "WildcardSubscriptionAvailable": 0, "MaximumPacketSize": 1000}
    assert [each.state for each in _limits(bad, 65_536)] == [State.WRONG, State.WRONG, State.WARNING]
    assert [each.state for each in _limits({}, 65_536)] == [State.OK] * 3
