"""What every part has in common: an owner, a directory, a port, and a process that can be killed."""

import contextlib
import os
import pwd
import random
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ops.parts.process import PartError, Process

HOST = "127.0.0.1"

# Below the range from which the kernel takes ports for outgoing connections. Otherwise a client that keeps
# trying while the part is down can be given the part's own port, and then the part cannot come back.
PORTS = range(20_000, 32_000)


class Part:
    """What may be done to a part from outside: stop it, kill it, bring it back."""

    process: Process | None

    @property
    def pid(self) -> int:
        """Tell the id of the part's main process."""
        return self._own().pid

    def start(self) -> None:
        """Start it after `stop` or `kill`, on its old port with its old data."""
        self._own().start()

    def stop(self) -> None:
        """Stop it cleanly."""
        self._own().stop()

    def kill(self) -> None:
        """Kill it with -9."""
        self._own().kill()

    def restart(self) -> None:
        """Stop it cleanly if it runs, and start it again."""
        self._own().restart()

    def _own(self) -> Process:
        if self.process is None:
            raise PartError("somebody else runs this part: it cannot be stopped or started from here")
        return self.process


@contextlib.contextmanager
def scratch_dir() -> Iterator[Path]:
    """Make a temporary directory that a part which runs as `nobody` can enter, and remove it at the end."""
    with tempfile.TemporaryDirectory(prefix="carebell-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name)


def free_port() -> int:
    """Find a port of 127.0.0.1 that nobody listens on."""
    for port in random.SystemRandom().sample(PORTS, k=100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    raise PartError(f"no free port on {HOST} between {PORTS.start} and {PORTS.stop}")


@contextlib.contextmanager
def running(process: Process) -> Iterator[None]:
    """Run a process for as long as the block, however the block ends."""
    try:
        process.start()
        yield
    finally:
        process.stop()


def own_dir(path: Path) -> tuple[Path, tuple[int, int] | None]:
    """Make a directory for a part; return it and who the part runs as: `nobody` when we are root, else we."""
    new = not path.exists()
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if os.geteuid():
        return path, None
    nobody = pwd.getpwnam("nobody")
    owner = nobody.pw_uid, nobody.pw_gid
    if new:
        os.chown(path, *owner)
    if not may(owner, "-w", path):
        raise PartError(
            f"{path} cannot be entered by `nobody`, as whom the parts of root run: choose another place"
        )
    return path, owner


def may(user: tuple[int, int], right: str, path: Path) -> bool:
    """Ask the system whether this user has a right (-r, -w, -x) on a path, directories above it included."""
    uid, gid = user
    command = ["/usr/bin/test", right, str(path)]
    return not subprocess.run(command, user=uid, group=gid, extra_groups=[], cwd="/", check=False).returncode


def write(path: Path, text: str, owner: tuple[int, int] | None) -> None:
    """Write a file that only its owner reads."""
    path.touch(mode=0o600)
    path.write_text(text, "utf-8")
    if owner is not None:
        os.chown(path, *owner)
