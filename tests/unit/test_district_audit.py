"""How long an audit waits for what may still be on its way."""

from collections.abc import Iterator
from typing import Any

import pytest

from device_sims.audit import Audit
from device_sims.tally import Tally
from device_sims.verify import Difference
from ops import district


def looks(monkeypatch: pytest.MonkeyPatch, rows: Iterator[int]) -> list[int]:
    """Let each look at the database find so many rows of ten; return the list of what was seen."""
    seen: list[int] = []

    async def held(*_: Any) -> None:  # noqa: ANN401 - nothing is read
        seen.append(next(rows))

    def compare(*_: Any) -> Audit:  # noqa: ANN401 - nothing is compared
        missing = [Difference("lost", "BELL-1", "heartbeat", 0, "")] if seen[-1] < 10 else []
        return Audit("town", 10, 0, rows=seen[-1], lost=10 - seen[-1], differences=missing)

    monkeypatch.setattr(district, "held", held)
    monkeypatch.setattr(district, "compare", compare)
    monkeypatch.setattr(district, "LOOK_AGAIN", 0.02)
    return seen


def tally() -> Tally:
    """Return a tally of nothing."""
    return Tally("town", 7, 0, 1, 1.0)


async def test_an_audit_waits_while_rows_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than its patience, as long as each look finds more; and no longer than all is there."""
    seen = looks(monkeypatch, iter(range(11)))
    found = await district.audit(None, tally(), wait=0.1)  # type: ignore[arg-type]  # nothing is asked
    assert (found.rows, found.lost) == (10, 0)
    assert seen == [*range(11)]


async def test_an_audit_gives_up_when_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing then is lost."""
    seen = looks(monkeypatch, iter([3] * 10_000))
    assert (await district.audit(None, tally(), wait=0.1)).lost == 7  # type: ignore[arg-type]  # as above
    assert len(seen) > 1
