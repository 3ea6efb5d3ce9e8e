"""Stories of devices that fall silent, and of what is no proof of life."""

from tests.stories.kit import (
    LIFE,
    Tell,
    alarm,
    at,
    between,
    board,
    cleared,
    every,
    given,
    never,
    on_parts_at_length,
    times,
    want,
)

SILENCE = (
    LIFE
    + """
[[rule]]
kind = "device_silent"
machine = "silence"
misses = 3
interval = "10m"
"""
)


@on_parts_at_length
def test_a_bell_that_misses_three_messages_is_silent(tell: Tell) -> None:
    """Last heard at 00:25, expected every five minutes: silent at 00:40, and over at the next word."""
    tell(
        given("BELL-1", model="bell"),
        every("5m", between("00:00", "00:30")).publish("BELL-1", "heartbeat", battery=80),
        never(between("00:00", "00:40"), alarm("device_silent")),
        want(between("00:40", "00:45"), alarm("device_silent", "BELL-1")),
        board("01:09", alarm("device_silent", "BELL-1")),
        at("01:10").publish("BELL-1", "heartbeat", battery=80),
        want(between("01:10", "01:15"), cleared("device_silent", open=False)),
        board("01:20"),
    )


def test_silence_is_dated_by_its_deadline(tell: Tell) -> None:
    """To the microsecond, and the alarm tells when the device was last heard."""
    book = tell(
        given("BELL-1", model="bell"),
        at("00:00").publish("BELL-1", "heartbeat", battery=80),
        want(between("00:15", "00:15:00.001"), alarm("device_silent")),
        at("01:00").publish("BELL-2", "heartbeat", battery=80),
    )
    assert book[0].at - book[0].alarm.values["last_heard"] == 15 * 60 * 1_000_000


def test_a_device_keeps_the_interval_that_the_registry_gives_it(tell: Tell) -> None:
    """An hourly bell may be away for three hours, whatever its model says."""
    tell(
        given("BELL-1", model="bell", heartbeat=3600),
        at("00:00").publish("BELL-1", "heartbeat", battery=80),
        never(between("00:00", "03:00"), alarm("device_silent")),
        want(between("03:00", "03:01"), alarm("device_silent")),
    )


def test_any_message_is_life(tell: Tell) -> None:
    """A vital sign, an event, an old measurement, even bytes on the SOS topic show that the device lives."""
    tell(
        given("BELL-1", model="bell"),
        at("00:00").publish("BELL-1", "heartbeat", battery=80),
        at("00:14").publish("BELL-1", "vitals", hr=70),
        at("00:28").publish("BELL-1", "event", kind="check_in"),
        at("00:42").publish("BELL-1", "vitals", ts="00:05", hr=70),
        at("00:56").publish("BELL-1", "sos", raw=b"\x00"),
        never(between("00:00", "01:11"), alarm("device_silent")),
        want(between("01:11", "01:12"), alarm("device_silent")),
    )


def test_a_device_that_was_never_heard_is_not_silent(tell: Tell) -> None:
    """A thousand bells in their boxes are no alarms."""
    tell(
        given([f"BELL-{n}" for n in range(1_000)], model="bell"),
        at("00:00").publish("BELL-1", "heartbeat", battery=80),
        times(1, between("00:00", "24:00"), alarm("device_silent")),
    )


def test_retained_words_and_last_wills_are_no_life(tell: Tell) -> None:
    """What the broker keeps or says in a device's name neither holds silence back nor ends it."""
    tell(
        given("BELL-1", model="bell"),
        at("00:00").publish("BELL-1", "heartbeat", battery=80),
        at("00:10").publish("BELL-1", "status", raw=b"online", retained=True),
        want(between("00:15", "00:16"), alarm("device_silent")),
        at("00:20").publish("BELL-1", "status", raw=b"offline"),
        at("00:25").publish("BELL-1", "heartbeat", battery=80, retained=True),
        never(between("00:00", "01:00"), cleared("device_silent")),
        at("01:00").publish("BELL-1", "status", raw=b"online"),
        want(between("01:00", "01:01"), cleared("device_silent")),
    )


def test_silence_that_ticks_may_not_judge_waits(tell: Tell) -> None:
    """While a session is away nobody can be heard: nobody is silent, and then everybody has new time."""
    tell(
        given("BELL-1", model="bell"),
        at("00:00").publish("BELL-1", "heartbeat", battery=80),
        at("00:10").tick(scan=False),
        at("02:00").tick(),
        never(between("00:00", "02:15"), alarm("device_silent")),
        want(between("02:15", "02:16"), alarm("device_silent")),
    )


# ---------------------------------------------------------------------------------------- learned, and steady


def test_a_learned_interval_finds_silence_sooner(tell: Tell) -> None:
    """A device that has spoken every two minutes for two hours is silent long before half an hour is over."""
    tell(
        every("2m", between("00:00", "02:00")).publish("BOX-1", "heartbeat", battery=80),
        never(between("00:00", "02:00"), alarm("device_silent")),
        want(between("02:03", "02:20"), alarm("device_silent")),
        rules=SILENCE + "learn = true\n",
    )


def test_a_learned_interval_forbears_with_slow_devices(tell: Tell) -> None:
    """A device that speaks every two hours is called silent at first, and no longer once that is known."""
    tell(
        every("2h", between("00:00", "96:00")).publish("BOX-1", "heartbeat", battery=80),
        want(between("00:30", "00:31"), alarm("device_silent")),
        never(between("48:00", "96:00"), alarm("device_silent")),
        want(between("99:00", "120:00"), alarm("device_silent")),
        rules=SILENCE + "learn = true\n",
    )


def test_what_is_not_to_be_learned_stays_as_it_is_set(tell: Tell) -> None:
    """Without `learn` half an hour is half an hour, however often the device has spoken."""
    tell(
        every("2m", between("00:00", "02:00")).publish("BOX-1", "heartbeat", battery=80),
        never(between("00:00", "02:28"), alarm("device_silent")),
        want(between("02:28", "02:29"), alarm("device_silent")),
        rules=SILENCE,
    )


def test_silence_ends_when_the_device_has_been_steady(tell: Tell) -> None:
    """Heard again for ten minutes, the alarm clears; dated by the message that showed it."""
    tell(
        at("00:00").publish("BOX-1", "heartbeat", battery=80),
        every("5m", between("01:00", "02:00")).publish("BOX-1", "heartbeat", battery=80),
        want(between("00:30", "00:31"), alarm("device_silent")),
        never(between("00:31", "01:10"), cleared("device_silent")),
        want(between("01:10", "01:10:01"), cleared("device_silent")),
        rules=SILENCE + 'steady = "10m"\n',
    )
