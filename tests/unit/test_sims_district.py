"""A district follows from its seed, each knob does what it says, and what is told of a message is true."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random

import pytest

from device_sims.clocks import DeviceClock
from device_sims.district import District
from device_sims.families import FAMILIES
from device_sims.knobs import Knobs
from device_sims.links import Sending
from device_sims.message import said
from device_sims.scenario import Scenario
from device_sims.tally import Use, use_of
from device_sims.weather import Calls, HeatWave, TowerDown
from schemas.clock import SECOND
from schemas.messages import ADAPTERS
from schemas.topics import CHANNELS, REASONS
from tests.unit.sims import START, scenario

HOUR = 3600 * SECOND
CONTRACT = ("bell", "caller", "band", "motion")


def sends(wanted: Scenario, seed: int = 5, start: int = START) -> list[tuple[str, Sending]]:
    """Return all publishes, each with the family that sends it."""
    return [(device.family, sending) for device, sending in District(wanted, seed, start).sends()]


def messages(family: str, **knobs: object) -> list[tuple[str, Sending]]:
    """Return what a family sends in two days whose every fault is off but for these knobs."""
    people = knobs.pop("people", 6)
    return sends(scenario(family, people=people, hours=48, knobs=Knobs.gentle(**knobs)))


def told(sent: list[tuple[str, Sending]]) -> list[tuple[int, str, bytes, int]]:
    """Return what a broker would see."""
    return [(each.at, each.message.topic, each.message.payload, each.copy) for _, each in sent]


# --------------------------------------------------------------------------------------------- the same again


def test_the_same_seed_sends_the_same_bytes() -> None:
    """Two districts of one seed are equal to the byte, another seed sends other ones."""
    one, two, other = (told(sends(scenario(), seed)) for seed in (5, 5, 6))
    assert one == two
    assert one != other


def test_a_longer_run_begins_as_a_shorter_one() -> None:
    """What is sent on the first day does not depend on how many days follow."""
    short, long = (told(sends(scenario(hours=hours))) for hours in (20, 40))
    until = START + 19 * HOUR
    assert [each for each in short if each[0] < until] == [each for each in long if each[0] < until]


def test_one_person_more_leaves_the_others_as_they_are() -> None:
    """Everybody's life is his own."""
    few, many = (sends(scenario("band", people=people)) for people in (3, 4))
    topics = {each.message.topic for _, each in few}
    assert told(few) == told([(family, each) for family, each in many if each.message.topic in topics])


def test_the_stream_goes_forward_from_start_to_end() -> None:
    """Publishes are in order of their times; at the end comes all that was kept or is tried again."""
    times = [each.at for _, each in sends(scenario())]
    assert times == sorted(times)
    assert times[0] >= START
    assert times[-1] == START + 24 * HOUR


def test_the_registry_does_not_depend_on_when_it_begins() -> None:
    """`register` and `run` see the same devices at any time; a prefix makes them others."""
    wanted = scenario(people=20, knobs=Knobs(unregistered=0.3))
    one, two = (District(wanted, 5, start).registrations for start in (START, START + 7 * HOUR))
    assert one == two
    assert 50 < len(one) < 20 * len(FAMILIES)
    other = District(wanted, 5, START, prefix="T-").registrations
    assert not {each.device for each in one} & {each.device for each in other}


def test_devices_bear_names_of_their_own() -> None:
    """Nobody shares a name, whatever the family."""
    devices = District(scenario(people=50), 5, START).devices
    assert len({device.name for device in devices}) == len(devices) == 50 * len(FAMILIES)


# ------------------------------------------------------------------------------------------------------ truth


def contract_rows(sending: Sending) -> Iterator[tuple[str, int | None, int, int | None]]:
    """Read a message with the contract's own models: channel, time, sum of values, number."""
    channel = sending.message.topic.rsplit("/", 1)[1]
    if sending.message.payload == b"online":
        yield channel, None, 0, None
        return
    fields = ADAPTERS[CHANNELS[channel]].validate_json(sending.message.payload)
    for each in fields.get("readings") or [fields]:
        yield channel, each.get("ts"), said(each), each.get("seq")


def test_what_is_told_of_a_message_is_true_of_its_bytes() -> None:
    """Times and values of the rows that must come of a message are those that stand in it."""
    found = 0
    for family, sending in sends(scenario(*CONTRACT, knobs=Knobs(dead_spots=(20, 40), strings=0.2))):
        message = sending.message
        if not message.dead:
            found += 1
            assert sorted(contract_rows(sending), key=repr) == sorted(map(tuple, message.rows), key=repr), (
                family
            )
    assert found > 2000


def test_dead_letters_have_reasons_of_the_contract() -> None:
    """Whatever is refused says why in the contract's words; of what is bad as a whole nothing is expected."""
    dead = [each.message for _, each in sends(scenario(hours=72, knobs=BAD)) if each.message.dead]
    assert {message.dead[0] for message in dead if message.dead} <= REASONS.keys()
    assert {message.dead[1] for message in dead if message.dead} == {True, False}
    assert not [message for message in dead if message.dead and message.dead[1] and message.rows]


BAD = Knobs(broken=0.05, wrong_fields=0.05, astray=0.05, unreadable=0.3, presses=(300, 600), duplicates=0.1)


def test_a_person_behind_a_device_shows_in_it() -> None:
    """At three at night the band sees a slower pulse than in the afternoon, and only then nobody steps."""
    by_hour: dict[int, list[float]] = {}
    knobs = {"vitals_hours": (0, 24), "pulse_unusable": 0, "pulse_error": 0, "drawer": 0, "always_worn": 1}
    for _, each in messages("band", people=12, **knobs):
        if each.message.topic.endswith("/vitals"):
            fields = json.loads(each.message.payload)
            if fields["hr"] > 1 and fields["hr"] < 254:
                by_hour.setdefault((each.at // HOUR + 8) % 24, []).append(fields["hr"])
    mean = {hour: sum(pulses) / len(pulses) for hour, pulses in by_hour.items()}
    assert mean[3] + 3 < mean[15]


# ------------------------------------------------------------------------------------------------------ knobs


def share(sent: list[tuple[str, Sending]], holds: Callable[[Sending], bool]) -> float:
    """Return the share of publishes for which something holds."""
    return sum(holds(each) for _, each in sent) / len(sent)


def causes(sent: list[tuple[str, Sending]]) -> Counter[str]:
    """Count calls by their cause."""
    return Counter(each.message.cause for _, each in sent if each.message.cause and not each.copy)


def is_dead(reason: str) -> Callable[[Sending], bool]:
    """Return whether a publish is refused for this reason."""
    return lambda each: each.message.dead is not None and each.message.dead[0] == reason


def lacks_time(each: Sending) -> bool:
    """Say whether a publish bears no time."""
    return b'"ts"' not in each.message.payload


def is_wrong_by(low: int, high: int) -> Callable[[Sending], bool]:
    """Return whether a publish bears a time that is ahead by so many seconds."""
    return lambda each: any(
        row.sent is not None and low <= row.sent / 1000 - each.message.at / SECOND < high
        for row in each.message.rows
    )


def has_text(each: Sending) -> bool:
    """Say whether a number stands in quotes."""
    return b'"fw":null' in each.message.payload


@pytest.mark.parametrize(
    ("knob", "family", "holds", "high", "least"),
    [
        ("duplicates", "bell", lambda each: each.copy > 0, 0.5, 0.25),
        ("broken", "bell", is_dead("not_json"), 0.5, 0.4),
        ("broken", "setracker", is_dead("bad_message"), 0.5, 0.4),
        ("broken", "ev07b", is_dead("bad_message"), 0.5, 0.4),
        ("broken", "g6xx", is_dead("not_json"), 0.5, 0.4),
        ("wrong_fields", "band", is_dead("bad_field"), 1, 0.1),
        ("astray", "bell", is_dead("bad_device"), 1, 0.3),
        ("strings", "bell", has_text, 0.5, 0.4),
        ("no_time", "bell", lacks_time, 0.5, 0.4),
        ("no_clock", "bell", lacks_time, 1, 1),
        ("clock_1970", "bell", is_wrong_by(-2_000_000_000, -1_700_000_000), 1, 0.9),
        ("clock_1970", "g6xx", is_wrong_by(-2_000_000_000, -800_000_000), 1, 0.9),
        ("clock_8h", "bell", is_wrong_by(28_790, 28_810), 1, 0.9),
        ("clock_year", "bell", is_wrong_by(365 * 86_400 - 10, 365 * 86_400 + 10), 1, 0.9),
        ("bare_words", "bell", lambda each: each.message.payload == b"online", 1, 0.002),
        ("wrong_lengths", "setracker", lambda each: b"*0009*LK" not in each.message.payload, 1, 0.5),
    ],
)
def test_a_share_is_none_at_nothing_and_many_at_much(
    knob: str, family: str, holds: Callable[[Sending], bool], high: float, least: float
) -> None:
    """A fault does not happen with its knob at 0 (gentle), and happens about as often as the knob says."""
    if knob != "wrong_lengths":
        assert share(messages(family), holds) == 0
    assert share(messages(family, **{knob: high}), holds) >= least


def test_skew_is_by_how_much_good_clocks_are_wrong() -> None:
    """A clock may be behind or ahead by seconds, and is so all the time."""
    late = messages("bell", skew=(-250, -240))
    assert share(late, is_wrong_by(-260, -239)) == 1
    assert share(messages("bell"), is_wrong_by(-1, 1)) == 1


@pytest.mark.parametrize(
    ("family", "knobs", "cause", "least", "most"),
    [
        ("bell", {"presses": (0, 0), "falls": 0}, "", 0, 0),
        ("bell", {"presses": (730, 730), "impatient": 0}, "", 15, 40),
        ("bell", {"presses": (730, 730), "genuine": (1, 1)}, "slip", 0, 0),
        ("bell", {"presses": (730, 730), "genuine": (0, 0), "falls": 0}, "genuine", 0, 0),
        ("zigbee_button", {"phantom_presses": (0, 0)}, "phantom", 0, 0),
        ("zigbee_button", {"phantom_presses": (730, 730)}, "phantom", 15, 60),
        ("band", {"false_falls": (0, 0), "falls": 0}, "", 0, 5),
        ("band", {"false_falls": (4, 4), "always_worn": 1}, "false fall", 25, 80),
        ("band", {"falls": 1500, "fall_sensitivity": 0}, "fall", 0, 0),
        ("setracker", {"falls": 1500, "fall_sensitivity": 1}, "fall", 10, 90),
        ("ev07b", {"falls": 1500, "fall_sensitivity": 1}, "fall", 10, 90),
    ],
)
def test_people_call_as_often_as_they_do(
    family: str, knobs: dict[str, object], cause: str, least: int, most: int
) -> None:
    """Presses, slips, phantoms, falls and false falls follow their knobs; "" counts calls of any cause."""
    found = causes(messages(family, **knobs))
    assert least <= (found[cause] if cause else found.total()) <= most


def test_people_press_in_the_morning() -> None:
    """With the knob up, most presses fall between eight and eleven."""
    sent = messages("caller", people=40, presses=(700, 700), morning=50, impatient=0, falls=0)
    hours = Counter((each.at // HOUR + 8) % 24 for _, each in sent if each.message.call)
    assert sum(hours[hour] for hour in (8, 9, 10)) > 0.7 * hours.total()


def test_a_pulse_that_locks_on_to_the_steps_shows_them() -> None:
    """All walking samples lie where the steps are, with the knob up."""
    knobs = {
        "pulse_unusable": 0,
        "cadence_lock": 1,
        "cadence": (180, 180),
        "vitals": 1,
        "vitals_multiple": (1, 1),
    }
    locked = [each for _, each in messages("band", **knobs) if b'"hr":180' in each.message.payload]
    assert len(locked) > 100
    knobs |= {"cadence_lock": 0, "pulse_error": 0}
    assert not [each for _, each in messages("band", **knobs) if b'"hr":180' in each.message.payload]


@pytest.mark.parametrize(("unusable", "least", "most"), [(0, 0.0, 0.0), (1 / 3, 0.2, 0.45), (1, 1, 1)])
def test_samples_are_unusable_as_often_as_they_are(unusable: float, least: float, most: float) -> None:
    """So many samples of a band that is always worn bear a code for no reading."""
    sent = messages("band", people=10, pulse_unusable=unusable, always_worn=1, drawer=0, battery=(1000, 1000))
    vitals = [json.loads(each.message.payload) for _, each in sent if each.message.topic.endswith("/vitals")]
    none = sum(fields["hr"] in (0, 1, 254, 255) for fields in vitals) / len(vitals)
    assert least <= none <= most


@pytest.mark.parametrize(("lies", "least", "most"), [(0, 0.0, 0.0), (1, 1.0, 1.0)])
def test_the_wear_flag_lies_as_often_as_it_does(lies: float, least: float, most: float) -> None:
    """Of a band that is always on the wrist, so many messages say that it is not."""
    sent = messages("band", wear_lies=lies, always_worn=1, drawer=0, battery=(1000, 1000))
    vitals = [json.loads(each.message.payload) for _, each in sent if each.message.topic.endswith("/vitals")]
    assert least <= sum(not fields["worn"] for fields in vitals) / len(vitals) <= most


def test_unreadable_calls_are_calls_all_the_same() -> None:
    """A call that cannot be read is refused, in the words that its format allows, and still calls."""
    for family in ("bell", "setracker", "ev07b"):
        calls = [
            each.message
            for _, each in messages(family, presses=(700, 700), unreadable=1)
            if each.message.call
        ]
        assert calls
        assert all(message.dead for message in calls if message.state is None)


def test_late_measurements_come_a_dozen_at_a_time() -> None:
    """What a band measured in a dead spot comes in batches, each measurement once, none lost."""
    knobs = {"dead_spots": (30, 30), "dead_spot_hours": (4, 8), "vitals_multiple": (1, 1), "presses": (0, 0)}
    with_spots, without = messages("band", **knobs), messages("band", vitals_multiple=(1, 1), presses=(0, 0))
    batches = [each.message for _, each in with_spots if b'"readings"' in each.message.payload]
    assert batches
    assert max(len(message.rows) for message in batches) == 12
    times = [row.sent for _, each in with_spots for row in each.message.rows if row.channel == "vitals"]
    assert len(times) == len(set(times)) > 0
    assert abs(len(times) - sum(each.message.topic.endswith("/vitals") for _, each in without)) < 80


def test_unregistered_devices_are_not_in_the_registry() -> None:
    """All of them with the knob at 1, none at 0."""
    for knob, known in ((0, 6), (1, 0)):
        wanted = scenario("bell", knobs=Knobs.gentle(unregistered=knob))
        assert len(District(wanted, 5, START).registrations) == known


# ---------------------------------------------------------------------------------------------------- weather


def test_while_the_tower_is_down_its_street_is_silent_and_then_tells_all() -> None:
    """Nothing comes from the street meanwhile, everything afterwards; elsewhere nothing changes."""
    down = TowerDown(kind="tower_down", after=10, hours=2, region="430602001")
    knobs = Knobs.gentle(presses=(3000, 3000))
    quiet, cut = (
        sends(scenario("bell", "band", people=30, knobs=knobs, event=event)) for event in ((), (down,))
    )
    begin, end = down.span(START)
    street = [each for _, each in cut if "/430602001/" in each.message.topic]
    assert street
    assert not [each for each in street if begin <= each.at < end]
    assert [each for each in street if each.message.call and end <= each.at < end + SECOND]
    elsewhere = [
        told([each for each in sent if "/430602001/" not in each[1].message.topic]) for sent in (quiet, cut)
    ]
    assert elsewhere[0] == elsewhere[1]
    calls = [sum(bool(each.message.call) for _, each in sent) for sent in (quiet, cut)]
    assert calls[0] == calls[1]


def test_what_is_kept_at_the_end_is_told_then() -> None:
    """A tower that is down when the run ends loses no call: all come at once."""
    knobs = Knobs.gentle(presses=(3000, 3000))
    down = TowerDown(kind="tower_down", after=6, hours=100)
    quiet, cut = (sends(scenario("bell", "g6xx", knobs=knobs, event=event)) for event in ((), (down,)))
    assert sorted(causes(quiet).items()) == sorted(causes(cut).items())
    last = [each for _, each in cut if each.at > START + 6 * HOUR]
    assert {each.at for each in last} == {START + 24 * HOUR}
    assert len(last) > 100


def test_no_two_messages_bear_the_same_second() -> None:
    """Else what says the same could not be told apart, and would be one row by right."""
    clock = DeviceClock(Random(1), Knobs.gentle(), START)
    shown = [clock.shows_second(START + n * SECOND // 3) for n in range(9)]
    assert shown == [START // 1000 + n * 1000 for n in range(9)]
    assert clock.shows_second(START + HOUR) == START // 1000 + 3_600_000


def test_heat_raises_pulses_and_calls() -> None:
    """In a heat wave bands show more, and people call more often."""
    heat = HeatWave(kind="heat_wave", after=0, hours=48, pulse=30, temp=2, presses=10)
    knobs = Knobs.gentle(presses=(50, 50), pulse_error=0, pulse_unusable=0)
    means, calls = [], []
    for event in ((), (heat,)):
        sent = sends(scenario("band", people=20, hours=48, knobs=knobs, event=event))
        vitals = [
            json.loads(each.message.payload) for _, each in sent if each.message.topic.endswith("/vitals")
        ]
        pulses = [fields["hr"] for fields in vitals if 1 < fields["hr"] < 254]
        means.append(sum(pulses) / len(pulses))
        calls.append(causes(sent)["slip"] + causes(sent)["genuine"])
    assert means[0] + 15 < means[1]
    assert calls[0] * 3 < calls[1]


@pytest.mark.parametrize("kind", ["flood", "drill"])
def test_in_a_flood_or_a_drill_many_call_at_once(kind: str) -> None:
    """All who take part press within its time, for its reason."""
    many = Calls.model_validate({"kind": kind, "after": 5, "hours": 0.5, "share": 1})
    sent = sends(scenario("bell", people=30, knobs=Knobs.gentle(impatient=0), event=(many,)))
    calls = [each for _, each in sent if each.message.cause == kind]
    begin, end = many.span(START)
    assert len(calls) == 30
    assert all(begin <= each.at < end for each in calls)


# ------------------------------------------------------------------------------------------------------ times


@pytest.mark.parametrize(
    ("ahead", "use"),
    [
        (0, Use.ALWAYS),
        (300, Use.ALWAYS),
        (301, Use.PERHAPS),
        (8 * 3600, Use.PERHAPS),
        (365 * 86_400, Use.NEVER),
        (-86_400, Use.ALWAYS),
        (-29 * 86_400, Use.PERHAPS),
        (-50 * 365 * 86_400, Use.NEVER),
    ],
)
def test_which_times_can_be_used(ahead: int, use: Use) -> None:
    """By the contract's bounds, for whatever lateness: five minutes ahead, thirty days behind."""
    assert use_of((START // SECOND + ahead) * 1000, START) is use
    assert use_of(None, START) is Use.NEVER


def test_a_stream_holds_only_what_is_on_its_way() -> None:
    """The first hour of a year can be had without living the year."""
    year = District(scenario(people=3, hours=24 * 365), 5, START).sends()
    assert len(list(islice(year, 300))) == 300
