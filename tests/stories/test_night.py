"""A night in one district: 20,000 devices, a base station down for forty minutes, three calls for help.

The district has 25 communities of 800 devices. Those of the community around the base station are bells that
speak every five minutes, the others callers that speak every twenty. Three of the bells are pressed while the
station is down, and get through by the next one.
"""

from tests.stories.kit import (
    Part,
    Tell,
    alarm,
    at,
    between,
    board,
    cleared,
    every,
    given,
    on_parts_at_length,
    times,
    want,
)

OUT = "430602003004"
COMMUNITIES = [f"430602{street:03}{place:03}" for street in range(1, 6) for place in range(1, 6)]
BELLS = [f"BELL-{n:05}" for n in range(800)]
CALLERS = {
    region: [f"CALLER-{region[6:]}-{n:03}" for n in range(800)] for region in COMMUNITIES if region != OUT
}
DISTRICT = [
    each
    for region, names in CALLERS.items()
    for each in given(names, model="caller", region=region, heartbeat=1200)
]
DISTRICT += given(BELLS, model="bell", region=OUT)
ALL_CALLERS = [name for names in CALLERS.values() for name in names]


def night(begins: str, ends: str) -> list[Part]:
    """Return the night from one hour to another; the station is down from 02:00 to 02:40."""
    return [
        DISTRICT,
        every("20m", between(begins, ends)).publish(ALL_CALLERS, "heartbeat", battery=80, mains=True),
        every("5m", between(begins, "02:00")).publish(BELLS, "heartbeat", battery=80, mains=True),
        every("5m", between("02:40", ends)).publish(BELLS, "heartbeat", battery=80, mains=True),
        at("02:16").publish("BELL-00007", "sos", source="button"),
        at("02:21").publish("BELL-00300", "sos", source="cord"),
        at("02:33").publish("BELL-00555", "sos", source="pendant"),
        want(between("02:10", "02:20"), alarm("area_outage", OUT)),
        times(1, between(begins, ends), alarm("area_outage")),
        board("02:36", *CALLS, alarm("area_outage", OUT)),
        want(between("02:40", "02:52"), cleared("area_outage", open=False)),
        board("02:58", *CALLS),
    ]


CALLS = (alarm("sos", "BELL-00007"), alarm("sos", "BELL-00300"), alarm("sos", "BELL-00555"))


def test_a_night_in_one_district(tell: Tell) -> None:
    """From midnight to six staff see one outage, as long as it lasts, and the three calls."""
    tell(*night("00:00", "06:00"), board("06:00", *CALLS))


@on_parts_at_length
def test_the_hours_around_the_outage_on_real_parts(tell: Tell) -> None:
    """All 20,000 devices speak to mosquitto; the database shows staff the same."""
    tell(*night("01:20", "03:00"), seconds=35)
