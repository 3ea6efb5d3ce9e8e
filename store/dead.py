"""Dead letters: what becomes of those that are re-driven, in the transaction that stores what they say.

A letter is gone once all it says is in the history; else it stays, with what was wrong this time. The writer
settles here, the bridge takes from here what waits. What people ask and order is store/dead_desk.py.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from psycopg import AsyncConnection

from schemas.alarms import Move, Transition
from schemas.clock import to_datetime, to_microseconds
from schemas.readings import Batch, Columns, DeadLetter, Delivery, Letter
from schemas.topics import life_channel
from store import sql
from store.refused import sieve
from store.rows import without_nul

_QUERIES = sql.load("dead")


class Result(StrEnum):
    """What became of a letter that was re-driven."""

    STORED = "stored"
    PARTLY = "partly"
    DUPLICATE = "duplicate"
    REFUSED = "refused"


class Waiting(NamedTuple):
    """A letter that waits to be re-driven, and the message it was, with its original time of receipt."""

    letter: Letter
    delivery: Delivery


class _Kept(NamedTuple):
    """A letter that stays, and what is wrong with it now."""

    letter: Letter
    received_at: int
    fault: DeadLetter


async def waiting(connection: AsyncConnection, limit: int, most_bytes: int) -> list[Waiting]:
    """Return the next letters to be re-driven, at most so many and so many bytes, never none if any waits."""
    found: list[Waiting] = []
    size = 0
    rows = await connection.execute(_QUERIES["waiting"], {"limit": limit})
    async for dead_letter_id, redrive_id, batch, whole, received_at, topic, payload in rows:
        size += len(payload)
        if found and size > most_bytes:
            break
        said = Delivery(
            topic, payload, 0, duplicate=False, retained=False, received_at=to_microseconds(received_at)
        )
        found.append(Waiting(Letter(dead_letter_id, redrive_id, batch, whole), said))
    return found


def calls_after(batch: Batch, number: int) -> bool:
    """Say whether a batch settles letters on life topics that came in batches after one."""
    return any(
        letter.batch > number and life_channel(delivery.topic) is not None
        for letter, delivery in zip(batch.letters, batch.deliveries, strict=False)
    )


def results(
    batch: Batch, readings: Columns, dead: Sequence[DeadLetter]
) -> Iterator[tuple[int, Result, DeadLetter | None]]:
    """Yield what became of each letter of a batch, by its place, and what is wrong with it if it stays.

    `readings` and `dead` are what the database took of the batch. A letter about refused rows of a message
    is settled when these are stored: a bad field of the same message has a letter of its own.
    """
    stored = set(readings["message"][readings["stored"]].tolist())
    faults: dict[int, DeadLetter] = {}
    for fault in dead:
        if fault.whole or fault.reason == "refused" or fault.message not in faults:
            faults[fault.message] = fault
    for place, letter in enumerate(batch.letters):
        left = faults.get(place)
        if left and not (left.whole or letter.whole or left.reason == "refused"):
            left = None
        if left:
            yield place, Result.PARTLY if place in stored else Result.REFUSED, left
        else:
            yield place, Result.STORED if place in stored else Result.DUPLICATE, None


async def settle(
    connection: AsyncConnection, batch: Batch, readings: Columns, dead: Sequence[DeadLetter]
) -> None:
    """Let letters go whose rows are written in this transaction, and say of the others what is wrong."""
    kept = await _let_go(connection, batch, readings, dead)
    await _keep(connection, kept, batch.now)


async def settle_what_can_be(
    connection: AsyncConnection, batch: Batch, readings: Columns, dead: Sequence[DeadLetter]
) -> None:
    """Do the same where the database refuses rows: a letter that takes no new word keeps the old one."""
    kept = await _let_go(connection, batch, readings, dead)

    async def keep_as_it_is(one: _Kept, _said: str) -> None:
        await connection.execute(_QUERIES["keep_as_it_is"], _key(one, batch.now))

    await sieve(connection, kept, lambda some: _keep(connection, some, batch.now), keep_as_it_is)


async def _let_go(
    connection: AsyncConnection, batch: Batch, readings: Columns, dead: Sequence[DeadLetter]
) -> list[_Kept]:
    """Count what became of the letters, delete those that say nothing more, and return the others."""
    kept: list[_Kept] = []
    gone: dict[str, list[Any]] = {"received_at": [], "ids": []}
    counts: dict[int, dict[str, int]] = {}
    for place, result, fault in results(batch, readings, dead):
        letter, received_at = batch.letters[place], batch.deliveries[place].received_at
        counts.setdefault(letter.redrive_id, dict.fromkeys(Result, 0))[result] += 1
        if fault:
            kept.append(_Kept(letter, received_at, fault))
        else:
            gone["received_at"].append(to_datetime(received_at))
            gone["ids"].append(letter.dead_letter_id)
    await connection.execute(_QUERIES["settle"], gone)
    for redrive_id, of_it in counts.items():
        await connection.execute(_QUERIES["count"], {**of_it, "redrive_id": redrive_id})
    return kept


async def _keep(connection: AsyncConnection, kept: Sequence[_Kept], now: int) -> None:
    if not kept:
        return
    async with connection.cursor() as cursor:
        await cursor.executemany(
            _QUERIES["keep"],
            [
                {
                    **_key(one, now),
                    "reason": one.fault.reason,
                    "detail": without_nul(one.fault.detail),
                    "whole": one.fault.whole,
                }
                for one in kept
            ],
        )


def _key(one: _Kept, now: int) -> dict[str, Any]:
    return {
        "received_at": to_datetime(one.received_at),
        "dead_letter_id": one.letter.dead_letter_id,
        "now": to_datetime(now),
    }


async def unsaid(connection: AsyncConnection, transitions: Sequence[Transition]) -> list[Transition]:
    """Return the raises of a re-driven batch that the log has not: one call is one activation, once.

    A call that could not be read, or whose row was refused, was an alarm when it was received (P2). A clear
    says nothing of now, so none is written.
    """
    raises = [each for each in transitions if each.move is Move.RAISE]
    if not raises:
        return []
    rows = await connection.execute(
        _QUERIES["heard"],
        {
            "device_ids": [each.device_id for each in raises],
            "moments": [to_datetime(each.at) for each in raises],
        },
    )
    heard = {(device_id, kind, to_microseconds(at)) for device_id, kind, at in await rows.fetchall()}
    return [each for each in raises if (each.device_id, each.kind, each.at) not in heard]
