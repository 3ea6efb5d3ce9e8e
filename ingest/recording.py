"""A recording: all that the engine was given, in its order, one JSON object a line (docs/adr/016).

Each line has a number `n`: of the batch that would be committed next. Lines come before their commit, so
after a crash those of a number that was not committed say what never was; `read` leaves them out.
Each also says which `line` of the file it is, and bears a checksum: what was changed or lost is noticed.
"""

import json
import os
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from schemas.errors import UsageError
from schemas.readings import Columns, Delivery

FORMAT: Final = 2
_TAIL: Final = 65_536
_CHECKSUM: Final = b',"crc":'
_MESSAGE, _TS = np.int64(0x42B2AE3D27D4EB4F), np.int64(0x1E3779B97F4A7C15)

Entry = dict[str, Any]
"""A line. `is` is start, restart, device, piece, begin; batch, tick, forgive, rules, session_lost; end."""


def line(entry: Entry, number: int) -> bytes:
    """Return an entry as a line, the first one being number 1."""
    whole = json.dumps({**entry, "line": number}, ensure_ascii=False, separators=(",", ":")).encode()
    text = whole.removesuffix(b"}")
    return text + _end(text)


def _end(text: bytes) -> bytes:
    return b"%s%d}\n" % (_CHECKSUM, zlib.crc32(text))


def said(deliveries: Iterable[Delivery]) -> list[list[Any]]:
    """Return messages as JSON takes them."""
    return [
        [each.received_at, each.topic, _text(each.payload), each.packet_id, each.duplicate, each.retained]
        for each in deliveries
    ]


def deliveries(messages: list[list[Any]]) -> list[Delivery]:
    """Return messages as they were received."""
    return [
        Delivery(topic, _payload(body), packet_id, duplicate, retained, received_at)
        for received_at, topic, body, packet_id, duplicate, retained in messages
    ]


def _text(payload: bytes) -> str | list[str]:
    """Return a payload as text; in base64, in a list, if it is none."""
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return [b64encode(payload).decode()]


def _payload(body: str | list[str]) -> bytes:
    return body.encode() if isinstance(body, str) else b64decode(body[0])


def identities(readings: Columns) -> npt.NDArray[np.int64]:
    """Name each reading of a batch, shape (n,), by its message, its time and what it says."""
    message = readings["message"].astype(np.int64)
    return np.asarray(readings["digest"] ^ readings["ts"] * _TS ^ message * _MESSAGE)


def packed(names: npt.NDArray[np.int64]) -> str:
    """Return identities as text."""
    return b64encode(names.astype("<i8").tobytes()).decode()


def unpacked(text: str) -> npt.NDArray[np.int64]:
    """Return identities."""
    return np.frombuffer(b64decode(text), "<i8")


def last_line(path: Path) -> tuple[Entry, int]:
    """Return the last whole line of a recording, and how many bytes the file has up to its end.

    Raises UsageError if it is damaged.
    """
    with path.open("rb") as file:
        length = file.seek(0, os.SEEK_END)
        size = 0
        while size < length:
            size = min(length, max(_TAIL, 2 * size))
            file.seek(length - size)
            tail = file.read(size)
            end = tail.rfind(b"\n") + 1
            start = tail.rfind(b"\n", 0, end - 1) + 1 if end else 0
            if start or (end and size == length):
                if found := _entry(tail[start:end]):
                    return found, length - size + end
                break
        file.seek(0)
        raise _damaged(path, sum(raw.endswith(b"\n") for raw in file))


def first_line(path: Path) -> Entry:
    """Return the line with which a recording begins; raises UsageError if it is no recording."""
    try:
        with path.open("rb") as file:
            found = _entry(file.readline())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    if found is None or found.get("is") != "start" or found.get("format") != FORMAT:
        raise UsageError(f"{path}: this is no recording of `carebell record`, or its first line is damaged")
    return found


def read(path: Path, batch: int | None = None) -> Iterator[Entry]:
    """Yield what happened; `batch` is the last one that was committed, if the recording does not say.

    Raises UsageError that names a line which is damaged or not in its place; a crash may have torn the very
    last one.
    """
    first_line(path)
    waiting: list[Entry] = []  # of one number, perhaps not committed
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.endswith(b"\n"):
                break
            entry = _entry(raw)
            if entry is None:
                raise _damaged(path, number)
            if entry["line"] != number:
                raise UsageError(
                    f"{path}: line {number} was written as line {entry['line']}:"
                    " lines are missing, or not in their place"
                )
            if entry["is"] in ("restart", "end"):
                yield from (each for each in waiting if each["n"] <= entry["batch"])
                waiting = []
            elif waiting and entry["n"] != waiting[0]["n"]:
                yield from waiting
                waiting = []
            waiting.append(entry)
    yield from (each for each in waiting if batch is None or each["is"] == "end" or each["n"] <= batch)


def _entry(raw: bytes) -> Entry | None:
    """Return a line's entry; None if it is not, to the byte, what was written."""
    text, _, end = raw.rpartition(_CHECKSUM)
    if _CHECKSUM + end != _end(text):
        return None
    found: Entry = json.loads(raw)
    return found


def _damaged(path: Path, number: int) -> UsageError:
    return UsageError(f"{path}: line {number} is damaged")


class Tape:
    """A file that is written line by line, for its owner's eyes only."""

    def __init__(self, path: Path, size: int = 0, lines: int = 0) -> None:
        """Keep the first `size` bytes of what is there, which are so many lines, and go on after them."""
        self._lines = lines
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.fchmod(self._file, 0o600)
        os.ftruncate(self._file, size)
        os.lseek(self._file, 0, os.SEEK_END)

    def write(self, *entries: Entry) -> None:
        """Hand lines to the system: a process that is killed after that has written them."""
        numbers = range(self._lines + 1, self._lines + 1 + len(entries))
        self._lines += len(entries)
        rest = memoryview(b"".join(map(line, entries, numbers)))
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
