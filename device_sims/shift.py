"""Simulated duty staff of a long run: closes calls over the desk's HTTP API that have stood for a while."""

import asyncio
from datetime import datetime
from itertools import cycle
from typing import Any, Final

import httpx

from device_sims.people import HOUR
from device_sims.staff import ask
from schemas.clock import Clock, to_microseconds

_PAUSE: Final = 2.0
"""Real seconds between two looks at the list."""
_OUTCOMES: Final = ("check_in", "accidental", "medical", "other_help", "test")
_LISTED: Final = 200
"""Alarms of a look: calls stand first."""


async def work_off(url: str, token: str, clock: Clock, hours: float) -> None:
    """Acknowledge and close every call that has been open for so many hours; until cancelled.

    A desk that does not answer is asked again.
    """
    outcomes = cycle(_OUTCOMES)
    async with httpx.AsyncClient(
        base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30
    ) as desk:
        while True:
            try:
                listed = await ask(desk, "GET", "/api/alarms", params={"limit": _LISTED})
                for alarm in listed.json()["alarms"] if listed.is_success else ():
                    if alarm["class"] == "life" and _age(alarm, clock) > hours * HOUR:
                        await _close(desk, alarm, next(outcomes))
            except httpx.HTTPError:
                pass  # it is away for now
            await asyncio.sleep(_PAUSE)


def _age(alarm: dict[str, Any], clock: Clock) -> int:
    return clock.now() - to_microseconds(datetime.fromisoformat(alarm["raised_at"]))


async def _close(desk: httpx.AsyncClient, alarm: dict[str, Any], outcome: str) -> None:
    where = f"/api/alarms/{alarm['alarm_id']}"
    if alarm["handling"] == "unacknowledged":
        await ask(desk, "POST", f"{where}/acknowledge")
    await ask(desk, "POST", f"{where}/close", json={"outcome": outcome})
