"""The soak: round after round of random faults under load, on mosquitto and TimescaleDB of its own.

    python -m tests.fault.soak --rounds 50
    python -m tests.fault.soak --rounds 1 --seed 1234     the same round again

What a round does (load, faults, instants) is a pure function of its seed; round n of a run has the run's seed
plus n. Each round has a broker, a database and a bridge of its own, and ends with the account of tests.fault.
"""

import argparse
import asyncio
import random
import secrets
import sys
import time
import traceback
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Final

from device_sims.load import Load
from ops.parts import Database, PartError, mosquitto_broker, scratch_dir
from schemas.settings import IngestSettings
from tests.fault.account import account
from tests.fault.faults import FAULTS
from tests.fault.rig import Rig, rigged
from tests.fault.traffic import Published, traffic
from tests.services import fresh_database, timescale_database

SECONDS: Final = 5.0
"""Of load in each round; setting up and draining take about as long again."""
WIDTH: Final = 20
LAST_LINES: Final = 20
"""Of the bridge's log, shown with what is wrong."""


@dataclass(frozen=True)
class Step:
    """A fault, the second of the round at which it begins, and how long it lasts."""

    at: float
    fault: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What happens in a round."""

    seed: int
    load: Load
    batch_rows: int
    calls_every: float
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        """Tell it in a line."""
        told = [f"{step.fault} at {step.at:.2f} s for {step.seconds:.2f} s" for step in self.steps]
        ts = "with ts" if self.load.with_ts else "without ts"
        load = f"{self.load.rate:g} msg/s {ts}, {self.load.channel}, batches of {self.batch_rows}"
        return f"{load}: {'; '.join(told)}"


def plan(seed: int) -> Plan:
    """Return the round of a seed."""
    dice = random.Random(seed)
    load = Load(
        seconds=SECONDS,
        rate=dice.choice((200, 500, 1000, 2000)),
        devices=dice.choice((10, 100, 500)),
        with_ts=dice.random() < 0.3,
        channel=dice.choice(("vitals", "heartbeat", "activity", "mix")),
    )
    faults = dice.choices(sorted(FAULTS), k=dice.choice((1, 2, 2)))
    begins = sorted(dice.uniform(0.2, SECONDS - 1) for _ in faults)
    steps = tuple(Step(at, fault, dice.uniform(0.1, 2.0)) for at, fault in zip(begins, faults, strict=True))
    return Plan(seed, load, dice.choice((50, 500, 5000)), dice.uniform(0.05, 0.5), steps)


async def run_round(what: Plan, server: Database) -> tuple[list[str], Published]:
    """Do one round; return what was wrong, in sentences, and what was published."""
    with scratch_dir() as scratch, mosquitto_broker(scratch) as broker, fresh_database(server.url) as url:
        small = IngestSettings(batch_rows=what.batch_rows)
        async with rigged(broker, replace(server, url=url), scratch, ingest=small) as rig:
            async with traffic(rig.installed.town, what.load, what.calls_every) as published:
                await strike(rig, what.steps)
            wrong = [] if rig.runs else ["the bridge ended by itself"]
            await rig.heal()
            wrong += (await account(rig.installed, published)).sentences()
            return wrong + (rig.said.splitlines()[-LAST_LINES:] if wrong else []), published


async def strike(rig: Rig, steps: tuple[Step, ...]) -> None:
    """Let each fault begin at its instant, or as soon as another one of the same part is over."""
    began = time.monotonic()
    turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def take(step: Step) -> None:
        await asyncio.sleep(max(0.0, began + step.at - time.monotonic()))
        async with turns[step.fault.rpartition(" ")[0]]:
            await FAULTS[step.fault](rig, step.seconds)

    async with asyncio.TaskGroup() as group:
        for step in steps:
            group.create_task(take(step))


async def soak(rounds: int, seed: int, server: Database) -> int:
    """Do rounds until one is wrong; return the exit code."""
    began, messages = time.monotonic(), 0
    for number in range(rounds):
        what = plan(seed + number)
        _say(f"round {number + 1}/{rounds}, seed {what.seed}: {what}")
        try:
            wrong, published = await run_round(what, server)
        except Exception as error:  # noqa: BLE001 - whatever ended the round, how to see it again must be told
            wrong, published = traceback.format_exception(error), Published()
        if wrong:
            _say("\n".join(f"  {line}" for line in wrong))
            _say(f"FAILED. The same round again: make soak ROUNDS=1 SEED={what.seed}")
            return 1
        messages += len(published.accepted)
        done = WIDTH * (number + 1) // rounds
        _say(f"  [{'#' * done}{'.' * (WIDTH - done)}] {published}: each is there once")
    took = time.monotonic() - began
    _say(f"{rounds} rounds, {messages} messages, {took:.0f} s: nothing lost, nothing double")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Read the arguments and soak."""
    parser = argparse.ArgumentParser(description="Random faults under load; see tests/fault/soak.py.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, help="the seed of the first round; random if it is left out")
    given = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if given.seed is None else given.seed
    try:
        with timescale_database() as server:
            return asyncio.run(soak(given.rounds, seed, server))
    except PartError as missing:
        sys.stderr.write(f"soak: {missing}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
