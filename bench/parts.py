"""The parts of the bench in their order, each of which may fail alone."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import psycopg
from rich.console import Console

from bench import ceilings, contest, desks, latency, line, steps
from bench.carry import Carried, Contender
from bench.embedded import embedded
from bench.fleets import fleet, growth
from bench.ground import Ground, ground
from bench.judging import judged
from bench.machine import NotMeasuredError
from bench.mapping import mapped
from bench.scale import Scale
from bench.table import Line, Part, not_measured, whole
from ops.parts import PartError, scratch_dir
from ops.parts.brokers import SHIPPED
from ops.parts.databases import DATABASE_SETTINGS
from schemas.errors import CarebellError
from schemas.settings import Settings
from tests.services import TIMESCALE_SETTINGS, timescale_database

OF_CEILING = 0.8
TIMES_PEER = 10
SERVER = {"shared_buffers": "2GB", "max_wal_size": "4GB"}
"""As `carebell db size` advises for so long a history, and far below what TimescaleDB's own image takes."""
FAILURES = (NotMeasuredError, PartError, CarebellError, OSError, TimeoutError, psycopg.Error, AssertionError)
"""What may end a part; anything else is a fault of the bench and ends it."""
LINE = "The line: mosquitto + TimescaleDB"
STEPS = "CPU of the bridge by step"
CEILINGS = "Ceilings"
SOS = "SOS: publish to committed alarm"
DESKS = "SOS: publish to open desks"
EMBEDDED = "The line on embedded parts: rumqttd + PostgreSQL, no history"
FLEETS = "Memory and start-up"
RULES = "Rules: the engine alone, one core"
MAPPED = "Vendors' JSON: the decoder alone, one core"
FILLING = "Filling"
ORDER = (LINE, CEILINGS, *contest.PEERS, STEPS, SOS, DESKS, FLEETS, EMBEDDED, RULES, MAPPED, FILLING)


@dataclass
class Bench:
    """Runs the parts; `parts` is what came of them so far."""

    scale: Scale
    console: Console
    parts: list[Part] = field(default_factory=list)
    versions: dict[str, Any] = field(default_factory=dict)
    measured: Carried | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings of every part, as shipped."""
        return {
            "carebell": Settings.model_construct().model_dump(exclude={"broker", "database", "duty"}),
            "mosquitto": _said(SHIPPED.joinpath("mosquitto.conf").read_text("utf-8")),
            "postgresql": {**DATABASE_SETTINGS, **TIMESCALE_SETTINGS, **SERVER},
        }

    async def run(self) -> None:
        """Measure every part; `parts` are in the order of ORDER afterwards, none of them missing."""
        async with self._may_fail(LINE, CEILINGS, STEPS, SOS, *contest.PEERS, DESKS, FLEETS):
            await self._on_timescale()
        async with self._may_fail(EMBEDDED):
            tries = await embedded(self.scale, self.console)
            self._add(EMBEDDED, tries[-1].lines(target="25,000"), _tries(tries))
        async with self._may_fail(RULES):
            with self.console.status("rules"):
                found = judged(self.scale)
            self._add(RULES, found.lines(), asdict(found))
        async with self._may_fail(MAPPED):
            with self.console.status("mapped JSON"):
                vendors = mapped(self.scale.mapped)
            self._add(MAPPED, vendors.lines(), asdict(vendors))
        self.parts.sort(key=lambda part: ORDER.index(part.name))

    @asynccontextmanager
    async def _may_fail(self, *names: str) -> AsyncIterator[None]:
        """Tell of each of these parts that is not there afterwards why it is not."""
        try:
            yield
        except FAILURES as error:
            why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            self.console.print(f"{names[0]}: not measured: {why}", markup=False)
            done = {part.name for part in self.parts}
            self.parts += [not_measured(name, why) for name in names if name not in done]

    def _add(self, name: str, lines: list[Line], figures: dict[str, Any]) -> None:
        self.parts.append(Part(name, lines, figures))

    async def _on_timescale(self) -> None:
        async with AsyncExitStack() as stack:
            scratch = stack.enter_context(scratch_dir())
            database = stack.enter_context(timescale_database(SERVER))
            where = await stack.enter_async_context(ground(database, scratch, self.scale, self.console))
            self.versions |= await _versions(where)
            rate = where.filled_per_second
            self._add(FILLING, [Line("rows a second", whole(rate))], {"rate": round(rate)})
            buttons = await latency.register(where)
            async with self._may_fail(LINE, CEILINGS, STEPS, SOS), line.line(where) as contender:
                await self._line(where, contender, buttons)
            for name in contest.PEERS:
                async with self._may_fail(name):
                    self._peer(name, await contest.contested(where, name))
            async with self._may_fail(DESKS):
                found = await desks.desks(where)
                self._add(DESKS, found.lines(), found.figures())
            await self._fleets(where)

    async def _line(self, where: Ground, contender: Contender, buttons: tuple[list[str], list[str]]) -> None:
        """Measure all that one run of the bridge can tell: one that starts anew would have to replay much."""
        tries = await line.tried(where, contender)
        ceiling = 0.0
        async with self._may_fail(CEILINGS):
            ceiling = await self._ceilings(where, round(tries[-1].batch_rows))
        done = await line.measured(where, contender, tries)
        self.measured = done
        target = "50,000" + (f", accepted from {whole(OF_CEILING * ceiling)}" if ceiling else "")
        of_ceiling = (
            [Line("of the lower ceiling", f"{done.stored_rate / ceiling:.0%}", "80%")] if ceiling else []
        )
        self._add(LINE, done.lines(target, "8") + of_ceiling, done.figures() | _tries(tries))
        async with self._may_fail(STEPS):
            profile = await steps.profiled(where, contender, done)
            self._add(STEPS, profile.lines(), profile.figures())
        async with self._may_fail(SOS):
            await self._sos(where, contender, buttons, done.stored_rate)

    async def _ceilings(self, where: Ground, batch_rows: int) -> float:
        """Measure both ceilings; return the lower one."""
        broker = await ceilings.broker_ceiling(where)
        copied = [await ceilings.copy_ceiling(where, n) for n in (batch_rows, ceilings.largest_batch())]
        lines = [Line(f"{broker.who}, msg/s", whole(broker.stored_rate))]
        lines += [
            Line(f"COPY into the same table, {each.batch_rows:,} rows at once, rows/s", whole(each.rate))
            for each in copied
        ]
        figures = {"broker": broker.figures(), "copy": [each.figures() for each in copied]}
        self._add(CEILINGS, lines, figures)
        return min(broker.stored_rate, copied[0].rate)

    async def _sos(
        self, where: Ground, contender: Contender, buttons: tuple[list[str], list[str]], most: float
    ) -> None:
        idle = await latency.idle(where, contender, buttons[0])
        loaded, beside = await latency.loaded(where, contender, buttons[1], most)
        at = f"beside {whole(beside.rate)} msg/s ({whole(beside.stored_rate)} stored)"
        lines = [idle.line("idle", 50), loaded.line(at, 150)]
        figures = {"idle": idle.figures(), "loaded": loaded.figures(), "beside": beside.figures()}
        self._add(SOS, lines, figures)

    def _peer(self, name: str, tries: list[Carried]) -> None:
        best, lines = tries[-1], tries[-1].lines()
        if self.measured:
            times = best.bridge_us / self.measured.bridge_us
            target = f"{TIMES_PEER}x" if "executemany" in name else ""
            lines.append(Line("CPU against that of carebell", f"{times:.1f}x", target))
        self._add(name, lines, _tries(tries))

    async def _fleets(self, where: Ground) -> None:
        async with self._may_fail(FLEETS):
            found = [await fleet(where, devices) for devices in self.scale.fleets]
            lines = [line for each in found for line in each.lines()] + growth(found)
            self._add(FLEETS, lines, {"fleets": [each.figures() for each in found]})


def _tries(tries: list[Carried]) -> dict[str, Any]:
    return {"best": tries[-1].figures(), "tries": [each.figures() for each in tries]}


def _said(text: str) -> list[str]:
    """Return the lines of a configuration that are no comments."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


async def _versions(where: Ground) -> dict[str, Any]:
    rows = await where.rows("SELECT current_setting('server_version')")
    extension = await where.rows("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
    return {"postgresql": rows[0][0], "timescaledb": extension[0][0] if extension else ""}
