"""Scenarios: who lives with which devices, for how long, what befalls them; TOML files in scenarios/."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from device_sims.families import FAMILIES
from device_sims.knobs import Knobs
from device_sims.weather import Happening
from schemas.errors import UsageError

SHIPPED: Final = Path(str(files("device_sims") / "scenarios"))


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Household(_Part):
    """So many people, each with one of each of these devices."""

    people: Annotated[int, Field(ge=1, le=1_000_000)]
    devices: Annotated[tuple[str, ...], Field(min_length=1)]

    @field_validator("devices")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [name for name in value if name not in FAMILIES]:
            raise ValueError(f"{unknown[0]!r} is no family: there are {', '.join(FAMILIES)}")
        return value


class Scenario(_Part):
    """One scenario; `speed` is how many times as fast as real time it is meant to be played."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")]
    zh: Annotated[str, Field(min_length=1, max_length=40)]
    about: Annotated[str, Field(min_length=1, max_length=300)]
    hours: Annotated[float, Field(gt=0, le=10_000)]
    speed: Annotated[float, Field(gt=0, le=10_000)]
    closes: Annotated[
        float, Field(ge=0, le=1_000, description="hours after which staff close calls; 0: never")
    ] = 0
    household: Annotated[tuple[Household, ...], Field(min_length=1)]
    knobs: Knobs = Knobs()
    event: tuple[Happening, ...] = ()

    @property
    def people(self) -> int:
        """Return how many people there are."""
        return sum(each.people for each in self.household)

    @property
    def devices(self) -> int:
        """Return how many devices they have."""
        return sum(each.people * len(each.devices) for each in self.household)

    @property
    def sources(self) -> list[str]:
        """Return the mappings of vendors' messages that a bridge must know to understand its devices."""
        named = {FAMILIES[name].source for each in self.household for name in each.devices}
        return sorted(named - {""})


def names() -> list[str]:
    """Return the names of the scenarios that ship."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load(name: str) -> Scenario:
    """Return a shipped scenario by its name, any other by its path; raises UsageError."""
    path = SHIPPED / f"{name}.toml" if name in names() else Path(name)
    try:
        return Scenario.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UsageError(f"scenario {name}: no such file; shipped are {', '.join(names())}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not TOML: {error}") from error
    except ValidationError as error:
        lines = (f"{path}: {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise UsageError("\n".join(lines)) from error
