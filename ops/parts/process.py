"""One child process that can be stopped, killed and started again, and that never outlives us.

What it prints goes to a log file. It gets a session of its own, so that Ctrl-C reaches us only and we end
our parts in order. Beside each child runs a guard: it reads from a pipe that only we hold open, and ends the
child when we are gone, however we went.
"""

import contextlib
import dataclasses
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

START_SECONDS = 30.0  # how long a part may take until it answers
RETRY_SECONDS = 5.0  # how long a part that ends at once is tried again
STOP_SECONDS = 20.0  # how long a part may take to save what it holds


class PartError(RuntimeError):
    """A part cannot run here; the message says why and what would help."""


@dataclasses.dataclass(slots=True)
class Process:
    """A command to run as `user` (uid and gid; None: as us), which is up as soon as `ready()` says so."""

    command: Sequence[str]
    ready: Callable[[], bool]
    log: Path
    user: tuple[int, int] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    _child: subprocess.Popen[bytes] | None = None
    _guard: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Tell the process id; of a stopped process, raise PartError."""
        if self._child is None:
            raise PartError(f"{self.command[0]} is not running")
        return self._child.pid

    def start(self) -> None:
        """Start it and return when it answers; raise PartError with its last words if it does not.

        What is left of a part that was just killed may stand in its way for a moment, so that one which ends
        at once is tried again for RETRY_SECONDS.
        """
        begun = time.monotonic()
        child = self._spawn()
        while not self.ready():
            waited = time.monotonic() - begun
            ended = child.poll() is not None
            if waited > (RETRY_SECONDS if ended else START_SECONDS):
                self.kill()
                raise PartError(f"{self.command[0]} does not start. {self._last_words()}")
            time.sleep(0.2 if ended else 0.02)
            if ended:
                child = self._spawn()

    def stop(self) -> None:
        """End it the way it was made to end, so that it saves what it holds; do nothing if it has ended."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End it as kill -9 does."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop it if it still runs, and start it again: the same port, the same data, a new process id."""
        self.stop()
        self.start()

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._dismiss_guard()
        uid, gid = self.user or (None, None)
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                user=uid,
                group=gid,
                extra_groups=None if uid is None else [],
            )
        self._child = child
        end_child = f"read -r _; kill -{self.stop_signal.value} {child.pid}"
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", end_child], stdin=subprocess.PIPE, cwd="/", start_new_session=True
        )
        return child

    def _end(self, how: signal.Signals) -> None:
        self._dismiss_guard()
        if self._child is None:
            return
        self._child.send_signal(how)
        try:
            self._child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None

    def _dismiss_guard(self) -> None:
        """Send the guard away first: later it could end a stranger who got our child's number."""
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
            if self._guard.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    self._guard.stdin.close()
            self._guard = None

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-5:] if self.log.exists() else []
        return " / ".join(lines) or f"It said nothing (log: {self.log})."
