"""Simulated duty staff: acts over the desk's HTTP API at the moments the truth scripts."""

import asyncio
from typing import Any

import httpx

from device_sims.truth import Step, Truth
from schemas.clock import Clock

_PAUSE = 0.1
_LONGEST = 60
"""Seconds for which staff wait at most when the desk says that they ask too often."""


async def ask(desk: httpx.AsyncClient, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - as httpx
    """Return the desk's answer; where it says that this was too often, wait as told and ask again."""
    while True:
        answer = await desk.request(method, path, **request)
        if answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
            return answer
        said = answer.headers.get("Retry-After", "")
        await asyncio.sleep(min(int(said), _LONGEST) if said.isdecimal() else 1)


async def staff(truth: Truth, url: str, token: str, clock: Clock) -> list[str]:
    """Carry out the truth's steps against the desk at `url`; return a sentence for each that failed.

    A step is tried again for as long as the tolerance lasts, for the alarm may still be on its way.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=10) as desk:
        failures = [await _carry_out(desk, truth, step, clock) for step in truth.steps]
    return [failure for failure in failures if failure]


async def _carry_out(desk: httpx.AsyncClient, truth: Truth, step: Step, clock: Clock) -> str:
    """Do one step at its time; return an empty text, or why it could not be done."""
    await asyncio.sleep(max(0.0, clock.seconds_until(step.at)))
    while True:
        trouble = await _try(desk, step)
        if not trouble or clock.now() > step.at + truth.tolerance:
            return f"{step.verb} {step.kind} of {step.device}: {trouble}" if trouble else ""
        await asyncio.sleep(_PAUSE)


async def _try(desk: httpx.AsyncClient, step: Step) -> str:
    try:
        found = await ask(desk, "GET", "/api/alarms", params={"device": step.device})
        if found.is_error:
            return _said(found)
        alarm = _alarm_of(found.json()["alarms"], step)
        if alarm is None:
            return "no such open alarm"
        answer = await ask(desk, "POST", f"/api/alarms/{alarm['alarm_id']}/{step.verb}", json=step.body)
    except httpx.HTTPError as error:
        return str(error) or type(error).__name__
    return _said(answer) if answer.is_error else ""


def _alarm_of(alarms: list[dict[str, Any]], step: Step) -> dict[str, Any] | None:
    found = (alarm for alarm in alarms if alarm["device"] == step.device and alarm["kind"] == step.kind)
    return next(found, None)


def _said(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.text[:200]}"
