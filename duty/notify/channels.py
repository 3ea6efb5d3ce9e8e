"""The ways to all recipients: who is told by which one, and how long it may take."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, Self

import httpx

from duty.notify.answers import Answer
from duty.notify.hooks import Hook, make_client
from duty.notify.ladders import Ladders
from duty.notify.mail import Mail
from duty.notify.mqtt import Publisher
from duty.notify.notices import Notice
from duty.notify.recipients import Mailbox, Recipient, Topic
from schemas.settings import BrokerSettings

PATIENCE: Final = 10.0
"""Seconds that one delivery may take, whatever the receiver does."""
LOOKUPS: Final = 8
"""Threads for the names of each recipient: a lookup that hangs goes on for a minute after it was given up."""


class Channel(Protocol):
    """The way to one recipient."""

    most: int
    """Notices that go into one message."""

    async def send(self, notices: Sequence[Notice]) -> Answer:
        """Tell, and say what came of it; weather and refusals are answers, not errors."""


class Channels:
    """All of them, for an `async with` block."""

    def __init__(self, ladders: Ladders, broker: BrokerSettings, patience: float = PATIENCE) -> None:
        """Open nothing yet; `patience` in seconds bounds each delivery."""
        self.ladders = ladders
        self.patience = patience
        self._broker = broker
        self._ways: dict[str, Channel] = {}

    async def __aenter__(self) -> Self:
        """Make the ways; none is tried. The loop gets threads for names, enough for all lookups to hang."""
        names = ThreadPoolExecutor(LOOKUPS * (1 + len(self.ladders.recipient)), thread_name_prefix="names")
        asyncio.get_running_loop().set_default_executor(names)
        boxes = sum(isinstance(each, Mailbox) for each in self.ladders.recipient.values())
        self._threads = ThreadPoolExecutor(2 * boxes + 1, thread_name_prefix="mail")
        self._client = make_client()
        for name, recipient in self.ladders.recipient.items():
            self._ways[name] = self._way(self._client, name, recipient)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close them."""
        await self._client.aclose()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def most(self, name: str) -> int:
        """Return how many notices one message to a recipient may hold."""
        return self._ways[name].most

    async def send(self, name: str, notices: Sequence[Notice]) -> Answer:
        """Tell a recipient, within the time that it has."""
        try:
            async with asyncio.timeout(self.patience):
                return await self._ways[name].send(notices)
        except TimeoutError:
            return Answer(f"no answer within {self.patience:g} s")

    def _way(self, client: httpx.AsyncClient, name: str, recipient: Recipient) -> Channel:
        match recipient:
            case Mailbox():
                return Mail(recipient, self._threads, self.ladders.desk_url, self.patience)
            case Topic():
                return Publisher(recipient, self._broker, self.ladders.desk_url)
            case _:
                return Hook(client, recipient, name, self.ladders.desk_url)
