"""The webhook: POST each call for help that waits too long, until something answers 2xx or it is stored.

One at a time in a task of its own: a receiver that hangs, refuses or is away delays nothing but itself.
"""

import asyncio
import hashlib
import logging
from typing import Final

import httpx

from ingest import metrics
from ingest.calls import Call, Calls

log = logging.getLogger(__name__)

LOOK: Final = 0.2
"""Seconds between two looks at what waits."""
ANSWER: Final = 5.0
"""Seconds that the receiver has to answer."""
FIRST_BACKOFF: Final = 1.0
LONGEST_BACKOFF: Final = 60.0


class Webhook:
    """Where calls are posted to."""

    def __init__(self, url: str, calls: Calls) -> None:
        """Post to `url`, which may hold a secret and is not logged."""
        self._url = url
        self._calls = calls
        self._fails = False

    async def run(self) -> None:
        """Post for ever."""
        loop = asyncio.get_running_loop()
        async with httpx.AsyncClient(timeout=ANSWER) as client:
            while True:
                call = self._next(loop.time())
                if call is None:
                    await asyncio.sleep(LOOK)
                else:
                    await self._post(client, call, loop.time())

    def _next(self, now: float) -> Call | None:
        """Return the call to post: one that was not tried yet, oldest first, else the one due for longest."""
        due = [call for call in self._calls.overdue(now) if not call.is_posted and call.post_at <= now]
        return min(due, key=lambda call: call.post_at, default=None)

    async def _post(self, client: httpx.AsyncClient, call: Call, now: float) -> None:
        message = call.message(now)
        name = f"{call.delivery.topic} {message.received_at.isoformat()}"
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": hashlib.sha256(name.encode()).hexdigest(),
        }
        try:
            async with asyncio.timeout(ANSWER):
                answer = await client.post(
                    self._url, content=message.model_dump_json(exclude_none=True), headers=headers
                )
            problem = "" if answer.is_success else f"it answers {answer.status_code}"
        except Exception as error:  # noqa: BLE001 - whatever a webhook can do to its client, the bridge goes on
            problem = type(error).__name__
        self._note(call, problem)

    def _note(self, call: Call, problem: str) -> None:
        """Count what was taken, and try later what was not; say so when it begins and when it ends."""
        if problem and not self._fails:
            log.warning("the webhook does not take a call that is not stored: %s; trying again", problem)
        elif self._fails and not problem:
            log.warning("the webhook takes calls again")
        self._fails = bool(problem)
        if problem:
            backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2**call.attempts)
            call.attempts += 1
            call.post_at = asyncio.get_running_loop().time() + backoff
        else:
            call.is_posted = True
            metrics.ANNOUNCED.labels("webhook").inc()
