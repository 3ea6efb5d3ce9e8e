"""The same line on the embedded parts, rumqttd and PostgreSQL out of wheels, with an empty history.

rumqttd takes any flood and drops what it cannot hand on in time without a word. So the load is paced, and the
highest rate is looked for at which all is stored and nothing is left to be caught up with.
"""

from dataclasses import replace
from typing import Final

from rich.console import Console

from bench.carry import Carried, Contender, best_rate, rows_arrive, shown
from bench.ground import empty_ground
from bench.line import bridge
from bench.scale import Scale
from ops.parts import embedded_database, iotcore_broker, scratch_dir

NAME: Final = "carebell, embedded parts"
GROWTH: Final = 1.6
PATIENCE: Final = 30.0
"""Seconds: what rumqttd has dropped never comes."""


async def embedded(scale: Scale, console: Console) -> list[Carried]:
    """Look for the highest rate without loss; the best try last."""
    limited = replace(scale, patience=min(scale.patience, PATIENCE))
    with scratch_dir() as scratch, embedded_database(scratch) as database:
        async with empty_ground(database, scratch, limited, console) as where:
            with iotcore_broker(scratch) as broker:
                async with bridge(where, broker) as installed, shown(where, NAME):
                    contender = Contender(NAME, broker, installed.bridge_pid, rows_arrive(where))
                    return await best_rate(where, contender, scale.embedded_rate, GROWTH)
