"""What befalls many at once, as a scenario says: towers go down, it is hot, many call."""

from collections.abc import Iterable, Sequence
from random import Random
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from device_sims.knobs import Rate, Share
from device_sims.links import Span
from device_sims.people import HOUR


class _Event(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    after: Annotated[float, Field(ge=0, le=10_000, description="hours after the beginning")]
    hours: Annotated[float, Field(gt=0, le=1_000, description="how long it lasts")]
    region: Annotated[str, Field(pattern=r"^[0-9]{0,12}$", description="where; empty: everywhere")] = ""

    def span(self, start: int) -> Span:
        """Return from when until when it is, in a run that begins at `start`."""
        begin = start + int(self.after * HOUR)
        return Span(begin, begin + int(self.hours * HOUR))


class TowerDown(_Event):
    """Nothing can be sent; then all that was kept comes at once."""

    kind: Literal["tower_down"]


class HeatWave(_Event):
    """Pulse and temperature are higher, and more people call."""

    kind: Literal["heat_wave"]
    pulse: Annotated[float, Field(ge=0, le=40, description="bpm more")] = 8
    temp: Annotated[float, Field(ge=0, le=3, description="degrees more")] = 0.5
    presses: Annotated[Rate, Field(description="times as many presses")] = 3


class Calls(_Event):
    """Many press: in a flood because of what happened, in a drill because they were told to."""

    kind: Literal["flood", "drill"]
    share: Annotated[Share, Field(description="of the devices that can call")]


Happening = Annotated[TowerDown | HeatWave | Calls, Field(discriminator="kind")]


class Weather:
    """What of it concerns one place."""

    def __init__(self, events: Iterable[TowerDown | HeatWave | Calls], region: str, start: int) -> None:
        """Take what happens in `region` or above it."""
        here = [(each, each.span(start)) for each in events if region.startswith(each.region)]
        self.outages = [span for each, span in here if isinstance(each, TowerDown)]
        self._heat = [(each, span) for each, span in here if isinstance(each, HeatWave)]
        self._calls = [(each, span) for each, span in here if isinstance(each, Calls)]

    def heat(self, moment: int) -> HeatWave | None:
        """Return the heat wave at a moment."""
        return next((each for each, span in self._heat if span.begin <= moment < span.end), None)

    def arranged(self, rng: Random) -> Sequence[tuple[int, str]]:
        """Draw when a device takes part in what many do, and in what."""
        return [
            (rng.randrange(span.begin, span.end), each.kind)
            for each, span in self._calls
            if rng.random() < each.share
        ]
