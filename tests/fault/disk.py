"""A small disk of our own that can be filled: a tmpfs, for as long as the block lasts."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

_BLOCKS: Final = (1024 * 1024, 4096)


@dataclass(frozen=True)
class SmallDisk:
    """The directory on which it is mounted."""

    path: Path

    @property
    def _ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self) -> None:
        """Leave not a page free."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in _BLOCKS:
                with contextlib.suppress(OSError):
                    while ballast.write(bytes(size)) == size:
                        pass

    def make_room(self) -> None:
        """Give back what was filled."""
        self._ballast.unlink()


@contextlib.contextmanager
def small_disk(path: Path, mebibytes: int) -> Iterator[SmallDisk]:
    """Mount a disk on a new directory that anybody may use; skip the test where we may not."""
    path.mkdir()
    options = f"size={mebibytes}m,mode=1777"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a disk of one's own: {'' if os.geteuid() else 'root, but '}{done.stderr.strip()}")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
