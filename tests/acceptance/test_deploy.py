"""What deploy/ holds, run for real as far as that goes without containers and without systemd.

The broker's configuration, the database's roles, the image's installation, the health commands.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ops.children import child, write_config
from ops.parts import Database, PartError, find_mosquitto, free_port
from ops.parts.common import own_dir, running
from ops.parts.process import Process
from schemas.settings import DutySettings
from tests.conftest import skip_service
from tests.deployment import (
    DEPLOY,
    PAGE,
    ROOT,
    compose,
    copied,
    health_command,
    make_secrets,
    mounts,
    run_secrets,
)
from tests.installation import Installation, until
from tests.mqtt import Client, RefusedError
from tests.services import PROGRAMS, timescale_database, trixie

COMPOSE = compose()


# ------------------------------------------------------------------------------------------------- the broker


class Container:
    """What the mosquitto container sees: every mount of compose.yaml in its place below a directory."""

    def __init__(self, home: Path, owner: tuple[int, int] | None) -> None:
        """Lay the mounts out, and let the files in them name our places and ports in the place of theirs."""
        self.home, self.pid = home, 0
        self.ports = {port: free_port() for port in ("1883", "1884", "8883")}
        self.inside = mounts(COMPOSE["services"]["mosquitto"], COMPOSE["secrets"])
        (home / "mosquitto/data").mkdir(parents=True)
        for target, source in self.inside.items():
            if "/" in source:
                place = home / target.lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                text = (self._origin(source)).read_text("utf-8")
                place.write_text(self.ours(text) if place.suffix == ".conf" else text, "utf-8")
        for path in [home, *home.rglob("*")]:
            if owner:
                os.chown(path, *owner)

    def _origin(self, source: str) -> Path:
        return self.home.parent / source if source.startswith("secrets/") else DEPLOY / source

    def ours(self, text: str) -> str:
        """Put our directories and ports in the place of the container's."""
        text = re.sub(r"(?<![\w/])(/(?:mosquitto|etc/mosquitto|run/secrets)/)", rf"{self.home}\1", text)
        return re.sub(r"\b(1883|1884|8883)\b", lambda found: str(self.ports[found[1]]), text)

    def health(self) -> int:
        """Run the health check as the container would; return its exit code."""
        kind, command = COMPOSE["services"]["mosquitto"]["healthcheck"]["test"]
        assert kind == "CMD-SHELL"
        command = self.ours(command.replace("$$", "$"))
        return subprocess.run(["/bin/sh", "-c", command], capture_output=True, check=False).returncode


@pytest.fixture
def container(scratch: Path) -> Iterator[Container]:
    """Give the broker of compose.yaml and compose.tls.yaml, running."""
    program = find_mosquitto()
    if program is None or shutil.which("mosquitto_sub") is None:
        skip_service("mosquitto", "not installed, or its clients are not")
    secrets = make_secrets(scratch)
    run_secrets(scratch, "device", "BELL-0002")
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=localhost",
            ),
            *("-keyout", str(secrets / "tls_key"), "-out", str(secrets / "tls_certificate")),
        ],
        capture_output=True,
        check=True,
    )
    home, owner = own_dir(scratch / "container")
    inside = Container(home, owner)
    conf = str(home / "mosquitto/config/mosquitto.conf")
    process = Process([str(program), "-c", conf], lambda: not inside.health(), home / "log", owner)
    with running(process):
        inside.pid = process.pid
        yield inside


def test_the_broker_takes_its_configuration(container: Container) -> None:
    """Its health check logs in with the bridge's password on its own loopback, and fails with another."""
    assert container.health() == 0
    (container.home / "run/secrets/broker_password").write_text("wrong")
    assert container.health() != 0


def test_a_device_gets_a_login_of_its_own(container: Container, scratch: Path) -> None:
    """`secrets.sh device` appends a login that holds after a HUP; with it the device writes as itself."""
    logins = container.home / "etc/mosquitto/carebell.passwd"
    done = run_secrets(scratch, "device", "BELL-0001")
    device, password = done.stdout.split()
    assert run_secrets(scratch, "device", "BELL-0001").returncode == 1
    assert run_secrets(scratch, "device", "BELL 1").returncode == 2
    url = f"mqtt://{device}:{password}@127.0.0.1:{container.ports['1884']}"
    with pytest.raises(RefusedError), Client(url):
        pass
    logins.write_text((scratch / "secrets/broker_logins").read_text("utf-8"), "utf-8")
    os.kill(container.pid, signal.SIGHUP)
    with Client(url) as client:
        assert not client.publish("carebell/v1/430602/BELL-0001/sos").is_failure
        assert client.publish("carebell/v1/430602/BELL-0002/sos").is_failure


def test_devices_outside_come_in_by_tls(container: Container) -> None:
    """The listener of compose.tls.yaml speaks TLS with the certificate from the secrets."""
    certificate = container.home / "run/secrets/tls_certificate"
    done = subprocess.run(
        [
            *(
                "mosquitto_pub",
                "-h",
                "localhost",
                "-p",
                str(container.ports["8883"]),
                "--cafile",
                str(certificate),
            ),
            *("-u", "carebell", "-P", (container.home / "run/secrets/broker_password").read_text("utf-8")),
            *("-q", "1", "-t", "carebell/down/v1/430602/BELL-0001/alarm", "-m", "{}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# ----------------------------------------------------------------------------------------------- the database


class Cluster:
    """A TimescaleDB of our own, its programs, and a directory that both it and we can see."""

    def __init__(self, url: str, place: Path) -> None:
        """Remember where the server is; `url` is the superuser's."""
        self.url, self.place = url, place

    @property
    def bridge(self) -> str:
        """Return the URL that secrets.sh wrote for the container, with this server in its place."""
        settings = tomllib.loads((self.place / "secrets/carebell.toml").read_text("utf-8"))
        url: str = settings["database"]["url"]
        return self._here(url)

    @property
    def boards(self) -> str:
        """Return the same for Grafana's login."""
        password = (self.place / "secrets/grafana_database_password").read_text("utf-8")
        return self._here(f"postgresql://carebell_grafana:{password}@timescaledb:5432/carebell")

    def _here(self, url: str) -> str:
        return url.replace("timescaledb:5432", self.url.rpartition("@")[2].partition("/")[0])

    def run(self, script: str) -> None:
        """Run commands with PostgreSQL's programs as superuser, in the directory, beside the server."""
        address = psycopg.conninfo.conninfo_to_dict(self.url)
        login = {f"PG{key.upper()}": str(address[key]) for key in ("host", "port", "user", "password")}
        inside = Path("/") / self.place.relative_to(trixie())
        done = subprocess.run(
            ["/usr/sbin/chroot", str(trixie()), "/bin/sh", "-ec", f"cd {inside}\n{script}"],
            env={"PATH": f"{PROGRAMS}:/usr/bin:/bin", **login},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def _server(stack: contextlib.ExitStack) -> Database:
    try:
        return stack.enter_context(timescale_database())
    except PartError as missing:
        skip_service("timescale", missing)
        raise


@pytest.fixture(scope="module")
def cluster(session_scratch: Path) -> Iterator[Cluster]:
    """Give a server on which database.sql was run, as at the container's first start, and the migrations."""
    scratch = session_scratch / "deploy"
    scratch.mkdir()
    secrets = make_secrets(scratch)
    with contextlib.ExitStack() as stack:
        database = _server(stack)
        place = trixie() / f"srv/carebell-{os.getpid()}-deploy"
        shutil.copytree(secrets, place / "secrets")
        stack.callback(shutil.rmtree, place)
        script = (DEPLOY / "database.sql").read_text("utf-8").replace("/run/secrets/", "secrets/")
        (place / "database.sql").write_text(script, "utf-8")
        found = Cluster(database.url, place)
        found.run("psql --set=ON_ERROR_STOP=1 --no-psqlrc --file=database.sql postgres")
        _carebell(found.bridge, "db", "migrate")
        yield found


def _carebell(url: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ops.cli", *arguments],
        env={**os.environ, "CAREBELL_DATABASE__URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_database_gives_each_its_rights(cluster: Cluster) -> None:
    """The bridge's role migrates and is no superuser; Grafana's reads every board view and nothing else."""
    with psycopg.connect(cluster.bridge, autocommit=True) as bridge:
        rights = "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        assert bridge.execute(rights).fetchone() == (False, False, False)
        views = bridge.execute("SELECT viewname FROM pg_views WHERE viewname ~ '^board_'").fetchall()
        tables = bridge.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    with psycopg.connect(cluster.boards, autocommit=True) as boards:
        for (view,) in views:
            boards.execute(f"SELECT * FROM {view} LIMIT 1".encode())
        for (table,) in tables:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                boards.execute(f"SELECT * FROM {table} LIMIT 1".encode())
    assert len(views) > 3
    assert len(tables) > 10


def test_a_backup_comes_back(cluster: Cluster) -> None:
    """The commands of docs/deploy.md bring back owner, rows and hypertables, ready for more."""
    row = (
        b"INSERT INTO vitals (device_id, ts, received_at, time_quality, digest, batch, hr)"
        b" VALUES (1, %s, now(), 0, 1, 1, 70)"
    )
    with psycopg.connect(cluster.bridge, autocommit=True) as bridge:
        bridge.execute(row, ("2026-01-01T00:00Z",))
        bridge.execute(row, ("2026-03-01T00:00Z",))
    lines = re.findall(
        r"^ {4}((?:pg_dump|dropdb|psql|pg_restore) .*?)(?:  #.*)?$", PAGE.read_text("utf-8"), re.MULTILINE
    )
    assert [line.split()[0] for line in lines] == ["pg_dump", "dropdb", "psql", "pg_restore", "psql"]
    cluster.run("\n".join(lines))
    _carebell(cluster.bridge, "db", "status")
    with psycopg.connect(cluster.bridge, autocommit=True) as bridge:
        bridge.execute(row, ("2026-05-01T00:00Z",))
        assert bridge.execute("SELECT count(*), count(DISTINCT tableoid) FROM vitals").fetchone() == (3, 3)
        owners = (
            "SELECT tableowner, pg_get_userbyid(datdba) FROM pg_tables, pg_database"
            " WHERE tablename = 'vitals' AND datname = current_database()"
        )
        assert bridge.execute(owners).fetchone() == ("carebell", "carebell")
    with psycopg.connect(cluster.boards, autocommit=True) as boards:
        boards.execute("SELECT * FROM board_open_alarms")


# -------------------------------------------------------------------------------------------------- the image


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Give what the Dockerfile's pip makes of what it copies, and of nothing else."""
    for name in copied():
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / "src" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (tmp_path / "src").mkdir(exist_ok=True)
            shutil.copy(source, tmp_path / "src" / name)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"),
            *("--target", str(tmp_path / "site"), str(tmp_path / "src")),
        ],
        capture_output=True,
        check=True,
    )
    return tmp_path


def test_the_image_is_a_whole_installation(image: Path) -> None:
    """Every file of every room arrives, and the command runs without the repository."""
    files = {
        path.relative_to(image / "src")
        for path in (image / "src").glob("*/**/*")
        if path.is_file() and path.parts[len((image / "src").parts)] not in {"build", "carebell.egg-info"}
    }
    assert {path for path in files if not (image / "site" / path).exists()} == set()
    program = "import ops.cli as c; print(c.__file__); c.app(['config', 'sample'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(image / "site"), "PATH": os.environ["PATH"]},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(image / "site"))
    assert "[broker]" in done.stdout


async def test_the_health_command_sees_a_part_that_is_down(installed: Installation) -> None:
    """It succeeds while bridge and desk do their work, and fails when one of them does not."""
    desk = free_port()
    duty = DutySettings(port=desk, tokens={"王芳": "0" * 64})
    write_config(installed.settings.model_copy(update={"duty": duty}), installed.config)
    program = health_command()[-1].replace(":9108/", f":{installed.settings.metrics.port}/")
    command = [sys.executable, "-c", program.replace(":8080/", f":{desk}/")]

    async def healthy() -> bool:
        process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
        return await process.wait() == 0

    assert not await healthy()
    async with child("duty", "--config", str(installed.config), ready=f"http://127.0.0.1:{desk}/healthz"):
        assert await until(healthy, bool)
        await installed.kill()
        assert not await healthy()
