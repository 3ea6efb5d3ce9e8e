"""What users of the peers complain of, each told as a story with the number of their issue."""

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
    on_parts_too,
    times,
    want,
)

SILENCE = (
    LIFE
    + """
[[rule]]
kind = "device_silent"
machine = "silence"
misses = 1
interval = "10m"
"""
)
FEVER = (
    LIFE
    + """
[[rule]]
kind = "temp_high"
when = "temp >= 39.1"
clear = "temp <= 38"
for = "10m"
gap = "15m"
"""
)
DOUBLE = (
    LIFE
    + """
[[rule]]
kind = "hr_high"
when = "hr >= 131 and worn != 0"
clear = "hr <= 120"
for = "10m"
gap = "10m"
"""
)


# ------------------------------------------------------------------------------------------------ durations


def test_two_readings_of_the_same_millisecond_both_count(tell: Tell) -> None:
    """ThingsBoard #9156: a tie in the same millisecond never fired."""
    tell(
        every("5m", between("08:00", "08:11")).publish("BAND-1", "vitals", temp=39.5),
        every("5m", between("08:00", "08:11")).publish("BAND-1", "vitals", hr=140),
        times(1, between("08:10", "08:11"), alarm("temp_high")),
        times(1, between("08:10", "08:11"), alarm("hr_high")),
        rules=FEVER + DOUBLE.removeprefix(LIFE),
    )


def test_a_device_heard_in_the_very_moment_of_its_deadline_is_not_silent(tell: Tell) -> None:
    """ThingsBoard #9156: the other tie, that of a message with the end of the time allowed."""
    tell(
        every("10m", between("08:00", "12:00")).publish("BOX-1", "heartbeat", battery=80),
        never(between("08:00", "12:00"), alarm("device_silent")),
        want(between("12:00", "12:01"), alarm("device_silent")),
        rules=SILENCE,
    )


def test_no_alarm_inside_a_data_gap(tell: Tell) -> None:
    """ThingsBoard #14210: a duration went on through hours without data, and fired in or after them."""
    tell(
        at("08:00").publish("BAND-1", "vitals", temp=39.5),
        at("08:05").publish("BAND-1", "vitals", temp=39.5),
        at("11:00").publish("BAND-1", "vitals", temp=39.5),
        at("11:08").publish("BAND-1", "vitals", temp=39.5),
        never(between("08:00", "11:12"), alarm("temp_high")),
        at("11:12").publish("BAND-1", "vitals", temp=39.5),
        want(between("11:12", "11:13"), alarm("temp_high")),
        rules=FEVER,
    )


def test_a_duration_survives_a_restart(tell: Tell) -> None:
    """ThingsBoard #7043: the state of a duration was lost, and the alarm came late or never."""
    tell(
        every("2m", between("08:00", "08:13")).publish("BAND-1", "vitals", temp=39.5),
        at("08:05").restart(),
        want(between("08:10", "08:11"), alarm("temp_high", count=1)),
        times(1, between("08:00", "08:14"), alarm("temp_high")),
        rules=FEVER,
    )


def test_a_duration_survives_kill_9_with_messages_kept_by_the_broker(tell: Tell) -> None:
    """ThingsBoard #7043, and the fever is measured on while the bridge is dead: its own times count."""
    tell(
        every("2m", between("08:00", "08:20")).publish("BAND-1", "vitals", temp=39.5),
        at("08:03").kill(),
        at("08:09").restart(),
        want(between("08:10", "08:11"), alarm("temp_high", count=1)),
        times(1, between("08:00", "09:00"), alarm("temp_high")),
        rules=FEVER,
    )


# -------------------------------------------------------------------------------------------------- silence


def test_a_restart_is_no_flood_of_disconnects(tell: Tell) -> None:
    """ThingsBoard #13715: after an hour without the bridge a thousand bells were silent; none of them was."""
    bells = [f"BELL-{n}" for n in range(1_000)]
    tell(
        given(bells, model="bell"),
        every("5m", between("08:00", "12:00")).publish(bells, "heartbeat", battery=80),
        at("09:00").kill(),
        at("10:00").restart(),
        never(between("08:00", "12:00"), alarm("device_silent")),
        never(between("08:00", "12:00"), alarm("area_outage")),
        board("11:59"),
    )


def test_silence_is_found_in_time(tell: Tell) -> None:
    """ThingsBoard #6821: ten minutes of inactivity were told after 19,123 seconds."""
    tell(
        at("08:00").publish("BOX-1", "heartbeat", battery=80),
        want(between("08:10", "08:10:00.001"), alarm("device_silent")),
        rules=SILENCE,
    )


def test_the_alarm_comes_while_the_device_is_away_and_not_when_it_returns(tell: Tell) -> None:
    """ThingsBoard #12771: the rule fired on the message that ended the silence."""
    tell(
        at("08:00").publish("BOX-1", "heartbeat", battery=80),
        at("10:00").publish("BOX-1", "heartbeat", battery=80),
        want(between("08:10", "08:10:01"), alarm("device_silent")),
        board("09:59", alarm("device_silent")),
        never(between("08:11", "10:10"), alarm("device_silent")),
        want(between("10:00", "10:00:01"), cleared("device_silent", open=False)),
        rules=SILENCE,
    )


def test_a_gateway_that_is_down_is_one_alarm(tell: Tell) -> None:
    """thingsboard-gateway #1014, uptime-kuma #4779: thousands of alarms for one cause."""
    behind, others = [f"BELL-{n}" for n in range(3_000)], [f"BOX-{n}" for n in range(4_000)]
    tell(
        given(behind, model="bell", gateway="GW-1"),
        given(others, model="bell", gateway="GW-2"),
        every("5m", between("08:00", "09:00")).publish(others, "heartbeat", battery=80),
        every("5m", between("08:00", "08:10")).publish(behind, "heartbeat", battery=80),
        times(1, between("08:00", "09:00"), alarm("area_outage", "gateway:GW-1", count=1)),
        board("08:50", alarm("area_outage", "gateway:GW-1")),
    )


def test_a_flapping_device_is_one_alarm(tell: Tell) -> None:
    """Traccar #2736: online, offline, online all day; here it is silent once, until it has been steady."""
    flapping = [
        at(f"{8 + n // 2:02}:{n % 2 * 30:02}").publish("BOX-1", "heartbeat", battery=80) for n in range(8)
    ]
    tell(
        *flapping,
        every("5m", between("12:00", "13:00")).publish("BOX-1", "heartbeat", battery=80),
        times(1, between("08:00", "13:00"), alarm("device_silent", count=1)),
        times(1, between("08:00", "13:00"), cleared("device_silent")),
        want(between("12:20", "12:21"), cleared("device_silent")),
        rules=SILENCE + 'steady = "20m"\n',
    )


def test_a_retained_message_proves_no_life(tell: Tell) -> None:
    """Traccar #2736: what the broker kept looked like a device that is online, after each reconnect anew."""
    tell(
        at("07:59").publish("BOX-1", "status", raw=b"online", retained=True),
        at("08:00").publish("BOX-1", "heartbeat", battery=80),
        at("08:05").publish("BOX-1", "status", raw=b"online", retained=True),
        at("08:06").restart(),
        want(between("08:16", "08:17"), alarm("device_silent", "BOX-1", count=1)),
        never(between("08:00", "08:30"), cleared("device_silent")),
        board("08:29", alarm("device_silent", "BOX-1")),
        rules=SILENCE,
    )


# ---------------------------------------------------------------------------------------------------- times


def test_a_date_in_the_future_does_not_pin_the_latest(tell: Tell) -> None:
    """ThingsBoard #13665: one reading of 2036 was the newest for ten years, and nothing after it counted."""
    tell(
        at("07:59").publish("BAND-1", "vitals", ts=2_088_000_000_000, temp=36.9),
        every("5m", between("08:00", "08:11")).publish("BAND-1", "vitals", temp=39.5),
        want(between("08:10", "08:11"), alarm("temp_high")),
        rules=FEVER,
    )


def test_the_latest_is_the_newest_not_the_last_received(tell: Tell) -> None:
    """ThingsBoard #1769, #3119: an old value that comes late cleared the alarm."""
    tell(
        every("5m", between("08:00", "08:11")).publish("BAND-1", "vitals", temp=39.5),
        at("08:12").publish("BAND-1", "vitals", ts="08:07", temp=36.9),
        want(between("08:10", "08:11"), alarm("temp_high")),
        never(between("08:00", "09:00"), cleared("temp_high")),
        rules=FEVER,
    )


# --------------------------------------------------------------------------------------- one alarm, one row


@on_parts_too
def test_presses_at_once_are_one_alarm(tell: Tell) -> None:
    """ThingsBoard #5652, #2986, #15583: concurrent activations made an alarm each."""
    tell(
        [step for _ in range(50) for step in at("08:00").publish("BELL-1", "sos", ts=None)],
        [step for n in range(50) for step in at("08:00").publish(f"BELL-{2 + n % 5}", "sos", ts=None, seq=n)],
        want(between("08:00", "08:01"), alarm("sos", "BELL-1", count=50)),
        board(
            "08:02",
            alarm("sos", "BELL-1", count=50),
            *(alarm("sos", f"BELL-{n}", count=10) for n in range(2, 7)),
            *(alarm("suspect_device", f"BELL-{n}", count=1) for n in range(1, 7)),
        ),
        seconds=5,
    )


def test_what_staff_closed_stays_closed_while_the_device_still_holds_it(tell: Tell) -> None:
    """The fever goes on after duty has dealt with it: no new alarm before it has ceased and come again."""
    tell(
        every("5m", between("08:00", "10:00")).publish("BAND-1", "vitals", temp=39.5),
        at("08:20").closes("BAND-1", "temp_high"),
        never(between("08:20", "10:25"), alarm("temp_high")),
        at("10:00").publish("BAND-1", "vitals", temp=37.0),
        every("5m", between("10:15", "10:30")).publish("BAND-1", "vitals", temp=39.5),
        want(between("10:25", "10:26"), alarm("temp_high", count=1)),
        rules=FEVER,
    )


@on_parts_too
def test_what_staff_closed_stays_closed_over_a_restart(tell: Tell) -> None:
    """The same with the bridge started anew in between: it knows that the condition held."""
    tell(
        every("5m", between("08:00", "08:41")).publish("BAND-1", "vitals", temp=39.5),
        at("08:12").closes("BAND-1", "temp_high"),
        at("08:22").restart(),
        never(between("08:13", "08:45"), alarm("temp_high")),
        board("08:44"),
        rules=FEVER,
        seconds=12,
    )


def test_a_silence_that_staff_closed_is_not_told_again_while_it_lasts(tell: Tell) -> None:
    """Somebody is on the way with a new battery: the same silence is no second alarm."""
    tell(
        at("08:00").publish("BOX-1", "heartbeat", battery=80),
        at("09:00").closes("BOX-1", "device_silent"),
        never(between("09:00", "12:10"), alarm("device_silent")),
        at("12:00").publish("BOX-1", "heartbeat", battery=80),
        want(between("12:10", "12:11"), alarm("device_silent", count=1)),
        rules=SILENCE,
    )


def test_an_alarm_does_not_resolve_itself_when_its_series_vanishes(tell: Tell) -> None:
    """Grafana #105571: "resolved" was sent because nothing came any more."""
    tell(
        every("5m", between("08:00", "08:11")).publish("BAND-1", "vitals", temp=39.5),
        want(between("08:10", "08:11"), alarm("temp_high")),
        never(between("08:00", "32:00"), cleared("temp_high")),
        board("32:00", alarm("temp_high", cleared=False)),
        rules=FEVER,
    )
