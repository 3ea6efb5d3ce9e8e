"""Real services as fixtures: each test run has brokers and database servers of its own, on free ports.

A service that cannot be had is taken from CAREBELL_TEST_BROKER_URL or CAREBELL_TEST_DATABASE_URL. Without
these its tests are skipped and the last lines of the run say so; with CI=true that fails the run.
"""

import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ops.parts import (
    Broker,
    Database,
    PartError,
    embedded_database,
    find_mosquitto,
    iotcore_broker,
    mosquitto_broker,
    scratch_dir,
)
from tests.installation import Installation, installation
from tests.services import fresh_database, set_fsync, tables_to_copy, timescale_database

# Devices that may log in to every broker of the tests, with their passwords.
DEVICES = {"BELL-1": "one", "BELL-2": "two"}

NOT_TESTED = "NOT TESTED: "


def skip_service(service: str, reason: object) -> None:
    """Skip the test and say which service was missing."""
    pytest.skip(f"{NOT_TESTED}{service}: {reason}")


def _not_tested(config: pytest.Config) -> list[str]:
    """Return which services were missing, and why; of several processes only the one that reports knows."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skipped = [str(report.longrepr[2]) for report in reporter.stats.get("skipped", [])] if reporter else []
    return sorted({said[said.index(NOT_TESTED) :] for said in skipped if NOT_TESTED in said})


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, on plain PostgreSQL, the tests of modules whose matter is not how the tables are divided."""

    def stays(item: pytest.Item) -> bool:
        chosen = getattr(getattr(item, "callspec", None), "params", {}).get("database")
        return chosen != "native" or item.get_closest_marker("one_edition") is None

    left_out = [item for item in items if not stays(item)]
    items[:] = [item for item in items if stays(item)]
    config.hook.pytest_deselected(items=left_out)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say at the end of the run what tests found out, and which services were not there."""
    for report in terminalreporter.stats.get("passed", []):
        for line in (value for name, value in report.user_properties if name == "says"):
            terminalreporter.write_line(str(line))
    for line in _not_tested(terminalreporter.config):
        terminalreporter.write_line(line, yellow=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that was to test everything and did not."""
    was_good = session.exitstatus == pytest.ExitCode.OK
    if was_good and os.environ.get("CI") == "true" and _not_tested(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


# ---------------------------------------------------------------------------------------------------- brokers


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Give a directory that parts can use, also as root, where pytest's tmp_path is closed to them."""
    with scratch_dir() as path:
        yield path


@pytest.fixture(scope="session")
def session_scratch() -> Iterator[Path]:
    """Give the same for the whole run."""
    with scratch_dir() as path:
        yield path


@pytest.fixture(scope="session")
def mosquitto(session_scratch: Path) -> Iterator[Broker]:
    """Give the run's mosquitto; what one test retains, the next one sees."""
    if find_mosquitto():
        with mosquitto_broker(session_scratch / "shared", DEVICES) as broker:
            yield broker
    elif url := os.environ.get("CAREBELL_TEST_BROKER_URL"):
        address = urlsplit(url)
        yield Broker(address.hostname or "127.0.0.1", address.port or 1883, url, url, keeps_sessions=True)
    else:
        skip_service("mosquitto", "not installed, and CAREBELL_TEST_BROKER_URL is not set")


@pytest.fixture
def fresh_mosquitto(scratch: Path) -> Iterator[Broker]:
    """Give a mosquitto for this test alone, which it may stop, kill and restart."""
    if not find_mosquitto():
        skip_service("a mosquitto of one's own", "not installed")
    with mosquitto_broker(scratch, DEVICES) as broker:
        yield broker


@pytest.fixture(scope="session")
def iotcore(session_scratch: Path) -> Iterator[Broker]:
    """Give the run's rumqttd."""
    with iotcore_broker(session_scratch / "shared", DEVICES) as broker:
        yield broker


@pytest.fixture(params=["mosquitto", "iotcore"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Give each broker in turn."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Broker)
    return found


# -------------------------------------------------------------------------------------------------- databases


@pytest.fixture(scope="session")
def timescale_server() -> Iterator[Database]:
    """Give the run's TimescaleDB server."""
    yield from _own_or_given("timescale", timescale_database)


@pytest.fixture(scope="session")
def native_server(session_scratch: Path) -> Iterator[Database]:
    """Give the run's plain PostgreSQL server, the embedded one."""
    with embedded_database(session_scratch / "shared") as database:
        set_fsync(database.url, on=False)
        yield database


@pytest.fixture(scope="session")
def timescale_tables(timescale_server: Database) -> Iterator[str]:
    """Give the run's database of TimescaleDB whose tables are copied."""
    with tables_to_copy(timescale_server.url) as name:
        yield name


@pytest.fixture(scope="session")
def native_tables(native_server: Database) -> Iterator[str]:
    """Give the same of plain PostgreSQL."""
    with tables_to_copy(native_server.url) as name:
        yield name


@pytest.fixture
def timescale(
    request: pytest.FixtureRequest, timescale_server: Database, timescale_tables: str
) -> Iterator[Database]:
    """Give a database on TimescaleDB with tables; a test that stops the server starts it again."""
    with fresh_database(timescale_server.url, _template(request, timescale_tables)) as url:
        yield dataclasses.replace(timescale_server, url=url)


@pytest.fixture
def native(request: pytest.FixtureRequest, native_server: Database, native_tables: str) -> Iterator[Database]:
    """Give a database on plain PostgreSQL with tables; a test that stops the server starts it again."""
    with fresh_database(native_server.url, _template(request, native_tables)) as url:
        yield dataclasses.replace(native_server, url=url)


def _template(request: pytest.FixtureRequest, tables: str) -> str:
    return "template0" if request.node.get_closest_marker("no_tables") else tables


@pytest.fixture(params=["timescale", "native"])
def database(request: pytest.FixtureRequest) -> Database:
    """Give a database of each edition in turn; it has tables unless the test is marked `no_tables`."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Database)
    return found


def _own_or_given(service: str, run: Callable[[], AbstractContextManager[Database]]) -> Iterator[Database]:
    """Run a server of our own; where that cannot be, take the one whose URL is given, or skip."""
    with contextlib.ExitStack() as stack:
        try:
            database = stack.enter_context(run())
            set_fsync(database.url, on=False)
        except PartError as missing:
            url = os.environ.get("CAREBELL_TEST_DATABASE_URL")
            if not url:
                skip_service(service, f"{missing}, and CAREBELL_TEST_DATABASE_URL is not set")
            database = Database(url or "", service)
        yield database


# --------------------------------------------------------------------------------------------- installations


@pytest.fixture
async def installed(
    fresh_mosquitto: Broker, timescale: Database, scratch: Path
) -> AsyncIterator[Installation]:
    """Give an installation over mosquitto and TimescaleDB with its bridge running."""
    async with installation(fresh_mosquitto, timescale.url, scratch) as found:
        await found.start()
        yield found
