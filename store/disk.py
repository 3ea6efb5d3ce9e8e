"""The disk on which the database lies, where it can be seen from here."""

import ipaddress
import shutil
from dataclasses import dataclass

from psycopg import AsyncConnection, errors

from schemas.errors import UsageError
from schemas.settings import HistorySettings


@dataclass(frozen=True)
class Disk:
    """A volume, named by a directory on it; bytes."""

    directory: str
    size_bytes: int
    free_bytes: int

    @property
    def percent_free(self) -> float:
        """Return how much of it is free, 0 to 100."""
        return self.free_bytes * 100 / self.size_bytes if self.size_bytes else 0.0


async def measure(connection: AsyncConnection, history: HistorySettings) -> Disk | None:
    """Measure the database's disk; None: it is not seen from here. Raises UsageError for a wrong setting."""
    directory = history.disk or await _data_directory(connection)
    if not directory:
        return None
    try:
        found = shutil.disk_usage(directory)
    except OSError as error:
        if not history.disk:
            return None
        raise UsageError(f"history.disk = {directory!r} cannot be measured: {error}") from error
    return Disk(directory, found.total, found.free)


async def _data_directory(connection: AsyncConnection) -> str:
    """Return where the server keeps its files, or nothing if that is another machine's or not told."""
    if not _is_here(connection.info.host):
        return ""
    try:
        row = await (await connection.execute("SHOW data_directory")).fetchone()
    except errors.InsufficientPrivilege:
        return ""
    return str(row[0]) if row else ""


def _is_here(host: str) -> bool:
    """Say whether a database host is this machine: a socket's directory or a loopback address."""
    try:
        return (
            not host or host.startswith("/") or host == "localhost" or ipaddress.ip_address(host).is_loopback
        )
    except ValueError:
        return False
