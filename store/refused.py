"""What the database refuses of a batch: found by bisecting, kept as dead letters; the rest is stored (P7).

The fast way writes a batch in one go and knows nothing of this file. It is the slow way, in a transaction of
its own: every row is looked up by its key and those that stand are dropped, so that a unique violation has
its answer before anything is bisected; the rest is halved under savepoints until the rows that are refused
are found, in O(k log n) steps for k of n.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import AsyncConnection

from schemas import topics
from schemas.alarms import Transition
from schemas.errors import SenderFaultError
from schemas.readings import Batch, DeadLetter
from store import rows, sql
from store.duplicates import TABLES, twins_stored
from store.weather import is_weather

log = logging.getLogger(__name__)

T = TypeVar("T")
Index = npt.NDArray[np.intp]

LONGEST_SENTENCE: Final = 500

_QUERIES = sql.load("ingest")
_REFUSALS = ("22", "23", "54")
"""Data exceptions, violated constraints, rows beyond a limit of the server (one too wide for an index)."""


def is_refusal(error: psycopg.Error) -> bool:
    """Say whether the data is at fault: tried again it would be refused for ever."""
    return (error.sqlstate or "").startswith(_REFUSALS) and not is_weather(error)


def sentence(error: psycopg.Error) -> str:
    """Return what the server says of a refusal, bounded; its DETAIL would show a person's values."""
    said = f"{error.diag.message_primary or error} ({error.sqlstate})"
    return rows.without_nul(said)[:LONGEST_SENTENCE]


async def sieve(
    connection: AsyncConnection,
    items: Sequence[T],
    write: Callable[[Sequence[T]], Awaitable[None]],
    refuse: Callable[[T, str], Awaitable[None]],
) -> None:
    """Write items in their order; call `refuse(item, sentence)` in the place of each that is refused.

    Must be called in a transaction; weather and faults of ours are raised out of it.
    """
    if not len(items):
        return
    try:
        async with connection.transaction():
            await write(items)
    except psycopg.Error as error:
        if not is_refusal(error):
            raise
        said = sentence(error)
    else:
        return
    if len(items) == 1:
        await refuse(items[0], said)
        return
    half = len(items) // 2
    await sieve(connection, items[:half], write, refuse)
    await sieve(connection, items[half:], write, refuse)


@dataclass
class Sift:
    """A batch that was refused as a whole, on its way to be written without what is refused.

    The batch itself stays as it is until `adopt`, which must be called only once the commit has succeeded:
    weather may ask for all of it again.
    """

    batch: Batch
    number: int

    def __post_init__(self) -> None:
        self.readings = self.batch.readings.copy()
        self.dead = list(self.batch.dead)
        self.duplicates = self.batch.duplicates
        self._said: dict[int, list[str]] = {}

    async def write(
        self, connection: AsyncConnection, transitions: Sequence[Transition], rule_set_id: int
    ) -> None:
        """Write readings and transitions, and know the dead letters that must be kept."""
        await connection.execute(_QUERIES["check_at_once"])
        await self._drop_standing(connection)
        for table in TABLES:
            await self._write_table(connection, table)
        self._bury()
        await sieve(
            connection,
            transitions,
            lambda some: rows.write_transitions(connection, some, rule_set_id),
            lambda one, said: self._mend(connection, one, said, rule_set_id),
        )

    async def write_dead_letters(self, connection: AsyncConnection) -> None:
        """Write the dead letters, each with as much of it as the database takes."""
        await sieve(
            connection,
            self.dead,
            lambda some: rows.write_dead_letters(connection, some, self.number),
            lambda one, said: self._keep_what_can_be(connection, one, said),
        )

    def refused_devices(self) -> set[int]:
        """Return the devices of which rows are not stored that the engine has seen."""
        gone = self.batch.readings["stored"] & ~self.readings["stored"]
        return set(self.readings["device_id"][gone].tolist())

    def adopt(self) -> None:
        """Let the batch be what was stored of it, for those who count."""
        self.batch.readings, self.batch.dead = self.readings, self.dead
        self.batch.duplicates = self.duplicates

    async def _drop_standing(self, connection: AsyncConnection) -> None:
        """Drop rows that stand already: a unique violation after this is no duplicate and may be bisected."""
        stored = np.flatnonzero(self.readings["stored"])
        if not len(stored):
            return
        standing, _ = await twins_stored(connection, self.readings[stored])
        had = set(self.readings["message"][stored].tolist())
        self.readings["stored"][stored[standing]] = False
        doubles = had - self._stored_messages()
        self.duplicates += len(doubles)
        self.dead = [letter for letter in self.dead if letter.message not in doubles]

    async def _write_table(self, connection: AsyncConnection, table: str) -> None:
        """Write the rows of one table but those that are refused."""
        index = np.arange(len(self.readings))
        places: Index = index[self.readings["stored"]]
        ours = np.isin(self.readings["channel"][places], [int(channel) for channel in TABLES[table]])

        async def write(some: Any) -> None:  # noqa: ANN401 - a part of `places`
            await rows.write_readings(connection, table, self.readings[some], self.batch.details, self.number)

        async def refuse(place: Any, said: str) -> None:  # noqa: ANN401 - one of `places`
            self.readings["stored"][place] = False
            self._said.setdefault(int(self.readings["message"][place]), []).append(said)

        await sieve(connection, places[ours], write, refuse)  # type: ignore[arg-type]

    def _stored_messages(self) -> set[int]:
        return set(self.readings["message"][self.readings["stored"]].tolist())

    def _bury(self) -> None:
        """Make a dead letter for each message of which rows were refused.

        Where nothing of it is stored, the letter has all its bytes, and one about a part of it says no more.
        """
        left = self._stored_messages()
        for message, said in sorted(self._said.items()):
            whole = message not in left
            if whole:
                self.dead = [letter for letter in self.dead if letter.message != message]
            self.dead.append(self._letter(message, "; ".join(dict.fromkeys(said)), whole=whole))
        if self._said:
            log.warning("the database refused rows of %d messages: they are dead letters", len(self._said))

    def _letter(self, message: int, said: str, *, whole: bool) -> DeadLetter:
        return DeadLetter.of(
            message, self.batch.deliveries[message], "refused", said[:LONGEST_SENTENCE], whole=whole
        )

    async def _mend(
        self, connection: AsyncConnection, transition: Transition, said: str, rule_set_id: int
    ) -> None:
        """Write a decision that was refused in any way there is: an alarm must not be lost for a row.

        A device that somebody deleted is entered again, under the name it calls itself, for an alarm needs a
        device to stand for; then the decision is tried without what the rule saw. The line must not stop for
        what still is refused: all other alarms come through it.
        """
        brought = self._brought(transition)
        named = transition
        if not transition.area:
            device_id = await self._device_again(connection, transition.device_id, brought)
            named = replace(transition, device_id=device_id)
        for form in (named, replace(named, values={})):
            if await _accepted(connection, partial(rows.write_transitions, connection, [form], rule_set_id)):
                log.error("the database refused %s: %s; written all the same", _shown(transition), said)
                return
        log.critical("the database refuses %s: %s; IT IS LOST", _shown(transition), said)
        if brought is not None:
            self.dead.append(self._letter(brought, f"its {transition.kind} alarm: {said}", whole=False))

    def _brought(self, transition: Transition) -> int | None:
        """Return the message that brought a decision, None if it was the clock."""
        of_device = self.readings[self.readings["device_id"] == transition.device_id]
        if not len(of_device):
            return None
        exact = of_device[of_device["received_at"] == transition.at]
        return int((exact if len(exact) else of_device)["message"][-1])

    async def _device_again(self, connection: AsyncConnection, device_id: int, message: int | None) -> int:
        """Enter a device again if its row is gone; return the number under which it now stands."""
        device, region = f"?{device_id}", None
        if message is not None:
            device, region = _sender(self.batch.deliveries[message].topic, device)
        found: list[int] = []

        async def enter() -> None:
            cursor = await connection.execute(
                _QUERIES["device_again"], {"device_id": device_id, "device": device, "region": region}
            )
            found.extend(number for (number,) in await cursor.fetchall())

        await _accepted(connection, enter)
        return found[0] if found else device_id

    async def _keep_what_can_be(self, connection: AsyncConnection, letter: DeadLetter, said: str) -> None:
        """Write less and less of a dead letter that was refused; sha256 and reason stay to the last."""
        bare = replace(letter, payload=b"", detail=f"its bytes were refused: {said}")
        for topic, detail in ((letter.topic, bare.detail), (_plain(letter.topic), ""), ("", "")):
            form = replace(bare, topic=topic, detail=detail)
            if await _accepted(connection, partial(rows.write_dead_letters, connection, [form], self.number)):
                return
        log.error(
            "the database refuses even what is left of a dead letter: %s; topic %r, %d bytes, sha256 %s, %s",
            *(said, letter.topic, letter.length, letter.sha256.hex(), letter.reason),
        )


async def _accepted(connection: AsyncConnection, write: Callable[[], Awaitable[None]]) -> bool:
    """Write under a savepoint; say whether the database took it."""
    try:
        async with connection.transaction():
            await write()
    except psycopg.Error as error:
        if not is_refusal(error):
            raise
        return False
    return True


def _sender(topic: str, otherwise: str) -> tuple[str, str | None]:
    """Return device and region in a topic, as far as they can be read."""
    try:
        address = topics.parse(topic)
    except SenderFaultError:
        return topics.device_in(topic) or otherwise, None
    return address.device, address.region


def _plain(topic: str) -> str:
    return topic.encode("ascii", "replace").decode()[:200]


def _shown(transition: Transition) -> str:
    whose = f"area {transition.area}" if transition.area else f"device {transition.device_id}"
    return f"{transition.move.value} {transition.kind} of {whose}"
