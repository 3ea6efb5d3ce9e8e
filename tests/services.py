"""The services that tests run against, beside the embedded parts of `ops.parts`.

TimescaleDB runs out of the tree that tests/services.sh installed, by chroot. No mount is needed: the cluster
lies inside the tree, and PostgreSQL is told to do without /dev/shm. Each run has a cluster of its own.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from ops.parts import Database, PartError, postgres_server
from store.connection import connect
from store.migrate import migrate

PROGRAMS = Path("/usr/lib/postgresql/17/bin")
TIMESCALE_SETTINGS: Mapping[str, str] = {
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    # every database with the extension takes a worker, and tests make many databases
    "timescaledb.max_background_workers": "16",
    "max_worker_processes": "32",
}

TABLES_SINCE = datetime(2026, 3, 1, 8, tzinfo=UTC)
"""The moment for which copied tables have room: that of most tests."""


def trixie() -> Path:
    """Tell where tests/services.sh put TimescaleDB."""
    home = os.environ.get("XDG_CACHE_HOME") or f"{os.environ['HOME']}/.cache"
    return Path(os.environ.get("CAREBELL_CACHE") or f"{home}/carebell") / "trixie"


@contextlib.contextmanager
def timescale_database(settings: Mapping[str, str] | None = None) -> Iterator[Database]:
    """Run a TimescaleDB of our own; raise PartError where that cannot be, with the reason."""
    root = trixie()
    if os.geteuid():
        raise PartError("TimescaleDB is run in a chroot, which needs root")
    if not (root / "usr/lib/postgresql/17/lib/timescaledb.so").exists():
        raise PartError(f"TimescaleDB is not in {root}: run tests/services.sh install")
    user = _account(root, "postgres")
    _remove_stale(root)
    inside = Path(f"/srv/carebell-{os.getpid()}-{secrets.token_hex(4)}")
    home = root / inside.relative_to("/")
    home.mkdir(mode=0o700)
    os.chown(home, *user)
    try:
        with postgres_server(
            PROGRAMS,
            home,
            user=user,
            chroot=root,
            edition_hint="timescale",
            settings={**TIMESCALE_SETTINGS, **(settings or {})},
        ) as database:
            yield database
    finally:
        shutil.rmtree(home, ignore_errors=True)


def set_fsync(server_url: str, *, on: bool) -> None:
    """Let a server wait for the disk, or not: what a killed process wrote the system still has."""
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"ALTER SYSTEM SET fsync = {'on' if on else 'off'}")
        admin.execute("SELECT pg_reload_conf()")


@contextlib.contextmanager
def fresh_database(server_url: str, template: str = "template0") -> Iterator[str]:
    """Make a database on a server, empty or a copy; drop it at the end with whoever is still connected."""
    name = f"test_{secrets.token_hex(6)}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(create)
    try:
        yield _with_database(server_url, name)
    finally:
        with psycopg.connect(server_url, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextlib.contextmanager
def tables_to_copy(server_url: str) -> Iterator[str]:
    """Give the name of a database with all tables: to copy it takes a tenth of the time of a migration."""
    with fresh_database(server_url) as url:
        asyncio.run(_migrate(url))
        name = urlsplit(url).path.removeprefix("/")
        with psycopg.connect(server_url, autocommit=True) as admin:  # TimescaleDB's workers are in it as well
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
        yield name


async def _migrate(url: str) -> None:
    connection = await connect(url)
    await migrate(connection, TABLES_SINCE)
    await connection.close()


def _with_database(url: str, name: str) -> str:
    """Replace the database in a URL of the form scheme://login@host:port/database?options."""
    address, _, options = url.partition("?")
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.split('/')[0]}/{name}" + (f"?{options}" if options else "")


def _account(root: Path, name: str) -> tuple[int, int]:
    """Look up user and group id as they are inside the tree."""
    for line in (root / "etc/passwd").read_text().splitlines():
        fields = line.split(":")
        if fields[0] == name:
            return int(fields[2]), int(fields[3])
    raise PartError(f"{root} has no user {name}: remove it and run tests/services.sh install")


def _remove_stale(root: Path) -> None:
    """Remove the clusters of runs that were killed; their servers went with them."""
    for left in (root / "srv").glob("carebell-*"):
        if not Path("/proc", left.name.split("-")[1]).exists():
            shutil.rmtree(left, ignore_errors=True)
