"""The line itself: the real command over a broker and a database, with the shipped settings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.carry import Carried, Contender, best_rate, carry, final_load, rows_arrive, shown
from bench.ground import Ground
from bench.machine import NotMeasuredError
from ops.parts import Broker, mosquitto_broker
from schemas.errors import CarebellError
from tests.installation import Installation, installation

NAME = "carebell"


@asynccontextmanager
async def bridge(where: Ground, broker: Broker) -> AsyncIterator[Installation]:
    """Run the bridge on a ground."""
    async with installation(broker, where.database.url, where.place("line")) as installed:
        try:
            await installed.start()
        except CarebellError as error:
            raise NotMeasuredError(str(error)) from error
        yield installed


@asynccontextmanager
async def line(where: Ground) -> AsyncIterator[Contender]:
    """Run mosquitto and the bridge."""
    with mosquitto_broker(where.place("mosquitto")) as broker:
        async with bridge(where, broker) as installed:
            yield Contender(NAME, broker, installed.bridge_pid, rows_arrive(where))


async def tried(where: Ground, contender: Contender) -> list[Carried]:
    """Look for the highest rate that the line keeps up; the best try last."""
    return await best_rate(where, contender)


async def measured(where: Ground, contender: Contender, tries: list[Carried]) -> Carried:
    """Measure at that rate, for as long as the target says."""
    async with shown(where, f"{contender.who}: {where.scale.seconds:.0f} s"):
        return await carry(where, contender, final_load(where, tries, where.scale.seconds))
