"""A session over TLS, with a real mosquitto and certificates made here: whom it trusts, and what it says."""

import asyncio
import contextlib
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.parts import Broker, find_mosquitto, free_port
from ops.parts.process import Process
from schemas.settings import BrokerSettings
from schemas.topics import Lane
from tests.authority import Authority
from tests.conftest import skip_service
from tests.contract.kit import until
from tests.contract.test_session import Rig


@contextlib.contextmanager
def tls_mosquitto(home: Path, key: Path, certificate: Path) -> Iterator[BrokerSettings]:
    """Run a mosquitto that speaks TLS only, and return settings that lead there."""
    program, port = find_mosquitto(), free_port()
    if program is None:
        skip_service("mosquitto", "not installed")
    config = home / f"{port}.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nkeyfile {key}\ncertfile {certificate}\nallow_anonymous true\nuser root\n"
    )

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    process = Process((str(program), "-c", str(config)), answers, home / f"{port}.log")
    process.start()
    try:
        yield BrokerSettings(port=port, client_id="tls", tls=True)
    finally:
        process.stop()


@pytest.fixture
def broker(authority: Authority, tmp_path: Path) -> Iterator[BrokerSettings]:
    """Give settings that lead to a broker by the name of 127.0.0.1, for which the authority vouches."""
    with tls_mosquitto(tmp_path, *authority.vouch("IP:127.0.0.1")) as settings:
        yield settings


async def refused(settings: BrokerSettings, caplog: pytest.LogCaptureFixture) -> str:
    """Return what a session says that does not get in and tries again."""
    async with Rig(settings) as rig:
        await until(lambda: rig.session.connections >= 2 or rig.task.done(), "it tries again, or ends")
        assert not rig.session.connected
        return str(rig.task.exception()) if rig.task.done() else caplog.text


@pytest.mark.parametrize("lane", Lane)
async def test_a_broker_that_the_authority_vouches_for_is_trusted(
    broker: BrokerSettings, authority: Authority, lane: Lane
) -> None:
    """With `ca_file` both lanes connect, and a megabyte comes whole through the encryption."""
    settings = broker.model_copy(update={"ca_file": authority.certificate})
    async with Rig(settings, lane=lane) as rig:
        await rig.up()
        body = "x" * 1_000_000
        publish = ("mosquitto_pub", "-V", "5", "-h", "127.0.0.1", "-p", str(settings.port), "-q", "1")
        if shutil.which("mosquitto_pub") is None:
            skip_service("mosquitto_pub", "not installed")
        process = await asyncio.create_subprocess_exec(
            *(*publish, "--cafile", authority.certificate, "-t", rig.topic, "-s"),
            stdin=asyncio.subprocess.PIPE,
        )
        await process.communicate(body.encode())
        (taken,) = await rig.take(1)
        assert taken.payload == body.encode()
        rig.puback(taken)


async def test_an_authority_that_nobody_knows_is_named(
    broker: BrokerSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without `ca_file`, and with another one's: no login is sent, and the warning says what is wrong."""
    for ca_file in ("", Authority(tmp_path / "other").certificate):
        said = await refused(broker.model_copy(update={"ca_file": ca_file}), caplog)
        assert "certificate" in said
        assert "broker.ca_file" in said
        caplog.clear()


async def test_a_broker_by_another_name_is_refused(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A good certificate of somebody else is none: the warning names the host that was asked for."""
    with tls_mosquitto(tmp_path, *authority.vouch("DNS:broker.example,IP:127.0.0.2")) as settings:
        said = await refused(settings.model_copy(update={"ca_file": authority.certificate}), caplog)
    assert "127.0.0.1" in said
    assert "certificate" in said


async def test_a_ca_file_that_cannot_be_read_is_named(
    broker: BrokerSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A missing file and one that is no certificate: the sentence names key and file."""
    (tmp_path / "no.crt").write_text("no certificate\n")
    for name in ("missing.crt", "no.crt"):
        said = await refused(broker.model_copy(update={"ca_file": str(tmp_path / name)}), caplog)
        assert "broker.ca_file" in said
        assert name in said
        caplog.clear()


async def test_a_broker_without_tls_says_so(
    mosquitto: Broker, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """TLS to a port that speaks none is refused, and the warning speaks of TLS or of the connection's end."""
    plain = BrokerSettings(port=mosquitto.port, tls=True, ca_file=authority.certificate)
    said = await refused(plain, caplog)
    assert f"127.0.0.1:{mosquitto.port}" in said
