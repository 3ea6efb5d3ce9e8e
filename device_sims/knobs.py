"""The knobs of simulated devices and people: each habit of real ones is a number, set to the known figure.

Figures are those that vendors, public decoders and papers give; where nobody gives one, the text says
"assumed". Where a figure is a range, each device draws a value of its own. docs/simulators.md lists them all.
"""

from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_MOST = 1e6
_SHORTEST = 0.1


def _rising(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 <= value[0] <= value[1] <= _MOST:
        raise ValueError(
            f"[{value[0]:g}, {value[1]:g}] is no range: two numbers from 0 on, the smaller first"
        )
    return value


def _interval(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] < _SHORTEST:
        raise ValueError(f"[{value[0]:g}, {value[1]:g}]: an interval is {_SHORTEST:g} at least")
    return value


Range = Annotated[tuple[float, float], AfterValidator(_rising)]
Interval = Annotated[Range, AfterValidator(_interval)]
Skew = Annotated[float, Field(ge=-86_400, le=86_400)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, le=_MOST)]


class Knobs(BaseModel):
    """All of them; times of day are hours in Asia/Shanghai."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    # people
    presses: Annotated[Range, Field(description="presses for help, a device and year")] = (0.05, 3.5)
    genuine: Annotated[Range, Field(description="share of presses that are genuine; others slip or test")] = (
        0.06,
        0.60,
    )
    morning: Annotated[Rate, Field(description="how much likelier a press is from 08 to 11 h (assumed)")] = (
        3.0
    )
    impatient: Annotated[Share, Field(description="share of presses that are repeated at once (assumed)")] = (
        0.3
    )
    falls: Annotated[Rate, Field(description="genuine falls, a person and year (assumed)")] = 0.5
    check_in: Annotated[
        Share, Field(description="share of people who report 报平安 each morning (assumed)")
    ] = 0.25
    always_worn: Annotated[Share, Field(description="share of people who never take a wearable off")] = 0.10
    drawer: Annotated[Share, Field(description="share of days on which it lies in a drawer (assumed)")] = 0.03

    # devices
    heartbeat: Annotated[Interval, Field(description="minutes between heartbeats; 4G watch, bell")] = (4, 10)
    button_heartbeat: Annotated[
        Interval, Field(description="hours between those of NB and Zigbee buttons")
    ] = (1, 24)
    vitals: Annotated[Rate, Field(ge=0.1, description="minutes between automatic measurements")] = 5
    vitals_multiple: Annotated[Range, Field(description="or a whole multiple of that")] = (1, 6)
    vitals_hours: Annotated[
        Range, Field(description="the daily window of measuring, from and until (assumed)")
    ] = (
        6,
        22,
    )
    battery: Annotated[Range, Field(description="days that a wearable's charge lasts (assumed)")] = (1.5, 4)
    button_battery: Annotated[Range, Field(description="days that a button's battery lasts (assumed)")] = (
        200,
        700,
    )
    fall_sensitivity: Annotated[Share, Field(description="share of genuine falls that are detected")] = 0.80
    false_falls: Annotated[Range, Field(description="falls that were none, a wearer and day")] = (0.02, 1.0)
    phantom_presses: Annotated[
        Range, Field(description="presses of nobody, a Zigbee button and year (assumed)")
    ] = (
        0,
        3.5,
    )
    pulse_error: Annotated[Rate, Field(description="mean absolute error of a pulse at the wrist, bpm")] = 8
    pulse_unusable: Annotated[Share, Field(description="share of samples that give no reading")] = 1 / 3
    cadence_lock: Annotated[Share, Field(description="share of walking samples that show the steps")] = 0.3
    cadence: Annotated[Range, Field(description="the steps a minute that are then taken for the pulse")] = (
        100,
        130,
    )
    wear_lies: Annotated[Share, Field(description="share of messages whose wear flag is wrong (assumed)")] = (
        0.05
    )

    # the link
    sends_fail: Annotated[Range, Field(description="share of first sends that fail and are tried again")] = (
        0,
        0.20,
    )
    duplicates: Annotated[
        Share, Field(description="share of messages sent again though they had arrived")
    ] = 0.02
    dropped: Annotated[Share, Field(description="share of telemetry never sent again (assumed)")] = 0.003
    dead_spots: Annotated[Range, Field(description="times a month without a link, for hours (assumed)")] = (
        0,
        4,
    )
    dead_spot_hours: Annotated[Range, Field(description="how long; what was measured comes afterwards")] = (
        0.5,
        12,
    )
    late_batch: Annotated[Rate, Field(ge=1, le=100, description="measurements in one such late message")] = 12

    # clocks
    skew: Annotated[
        tuple[Skew, Skew], Field(description="seconds by which a good clock is ahead (assumed)")
    ] = (
        -120,
        120,
    )
    no_clock: Annotated[Share, Field(description="share of devices that send no time")] = 0.03
    clock_1970: Annotated[Share, Field(description="share of devices that count from 1970")] = 0.02
    clock_8h: Annotated[Share, Field(description="share of devices with local time labelled UTC")] = 0.02
    clock_year: Annotated[Share, Field(description="share of devices a year ahead")] = 0.01
    no_time: Annotated[Share, Field(description="share of messages without a time")] = 0.02

    # what they say
    strings: Annotated[Share, Field(description="share of telemetry with numbers as texts, and nulls")] = 0.03
    broken: Annotated[Share, Field(description="share of telemetry that is cut off")] = 0.001
    wrong_lengths: Annotated[
        Share, Field(description="share of text frames with a wrong length (assumed)")
    ] = 0.05
    wrong_fields: Annotated[Share, Field(description="share of telemetry with a field that is none")] = 0.001
    astray: Annotated[Share, Field(description="share of telemetry on topics that fit no rule")] = 0.0005
    unreadable: Annotated[Share, Field(description="share of calls for help that cannot be read")] = 0.02
    bare_words: Annotated[Share, Field(description="share of devices whose status is a plain word")] = 0.1
    unregistered: Annotated[Share, Field(description="share of devices that the registry does not know")] = (
        0.02
    )

    @classmethod
    def gentle(cls, **changes: object) -> Self:
        """Return people and devices as they are, over a perfect link, with right clocks and good manners."""
        shares = "wear_lies duplicates dropped no_clock clock_1970 clock_8h clock_year no_time strings broken"
        shares += " wrong_lengths wrong_fields astray unreadable bare_words unregistered"
        perfect: dict[str, object] = dict.fromkeys(shares.split(), 0)
        perfect |= dict.fromkeys(("sends_fail", "dead_spots", "skew"), (0, 0))
        return cls.model_validate(perfect | changes)
