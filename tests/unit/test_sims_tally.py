"""The tally counts what must come of publishes and survives its file; every damage to a database is found."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from device_sims.audit import Held, HeldAlarm, HeldRows, compare
from device_sims.links import Sending
from device_sims.message import Message, Row, said
from device_sims.tally import DAY_MS, Bucket, Rows, Tally
from device_sims.truth import DeadKey
from schemas.clock import SECOND
from schemas.errors import UsageError

START = 1_790_000_000 * SECOND
NOW_MS = START // 1000
DAY = NOW_MS // DAY_MS
HOUR = 3600 * SECOND
YEAR_MS = 365 * DAY_MS


def tally() -> Tally:
    """Return an empty one."""
    return Tally("test", 7, START, START + 24 * HOUR, 100.0, devices=["A", "B"])


def message(*rows: Row, **more: object) -> Message:
    """Return a message that brings these rows."""
    return Message(START, "t", b"{}", rows, **more)  # type: ignore[arg-type]


def publish(counted: Tally, said_so: Message, *copies: int, device: str = "A") -> None:
    """Publish a message and its copies, each so many seconds later."""
    for copy, later in enumerate((0, *copies)):
        at = START + later * SECOND
        counted.note(device, Sending(at, 1, copy, said_so), at)


# ----------------------------------------------------------------------------------------------------- counts


@pytest.mark.parametrize(
    ("sent", "counts"),
    [
        (NOW_MS, (1, 0, 0, 2)),
        (NOW_MS - 3_600_000, (1, 0, 0, 2)),
        (None, (3, 0, 0, 0)),
        (1000, (1, 2, 0, 0)),
        (NOW_MS + YEAR_MS, (1, 2, 0, 0)),
        (NOW_MS + 8 * 3_600_000, (1, 0, 2, 0)),
    ],
)
def test_copies_are_one_row_where_their_time_can_be_used(
    sent: int | None, counts: tuple[int, int, int, int]
) -> None:
    """With a usable time one row, without one three; where it depends on their lateness, both are right."""
    counted = tally()
    publish(counted, message(Row("vitals", sent, 5)), 1, 2)
    (rows,) = counted.rows.values()
    assert (rows.distinct, rows.again, rows.perhaps, rows.folded) == counts
    assert (rows.unused, rows.unsure) == (3 if counts[1] else 0, 3 if counts[2] else 0)
    assert counted.published == 3


def test_rows_stand_by_device_channel_and_the_day_that_they_name() -> None:
    """Sums of times and of what was said go with the counts."""
    counted = tally()
    publish(
        counted,
        message(Row("vitals", NOW_MS, 5), Row("vitals", NOW_MS - DAY_MS, 7), Row("heartbeat", None, 9)),
    )
    publish(counted, message(Row("vitals", NOW_MS + 1000, 3)), device="B")
    publish(counted, message(Row("vitals", NOW_MS + 1000, 3)))
    assert counted.rows == {
        Bucket("A", "vitals", DAY): Rows(2, sent=2 * NOW_MS + 1000, said=8),
        Bucket("A", "vitals", DAY - 1): Rows(1, sent=NOW_MS - DAY_MS, said=7),
        Bucket("A", "heartbeat", None): Rows(1, said=9),
        Bucket("B", "vitals", DAY): Rows(1, sent=NOW_MS + 1000, said=3),
    }


@pytest.mark.parametrize(
    ("rows", "least", "most"),
    [
        ((Row("sos", NOW_MS),), 1, 3),  # a retry, or a call again where it comes late
        ((Row("sos", None),), 3, 3),
        ((), 3, 3),  # nobody can read it, so nobody can tell a retry
    ],
)
def test_copies_of_a_call_are_retries_or_calls(rows: tuple[Row, ...], least: int, most: int) -> None:
    """One call is one moment, however often it was published."""
    counted = tally()
    publish(counted, message(*rows, call="sos", cause="slip"), 1, 2)
    calls = counted.calls["A", "sos"]
    assert (calls.least, calls.most, calls.at) == (least, most, [START])
    assert counted.causes == {"sos slip": 1}


def status(*, on: bool, cause: str = "", sent: int | None = NOW_MS) -> Message:
    """Return one that tells a state."""
    call = "sos" if on else ""
    return message(Row("vitals", sent), state=on, edge=Row("sos", sent), call=call, cause=cause)


def test_a_state_calls_where_it_begins() -> None:
    """Told five times over, it is one call and one row; begun again after its end, another one."""
    counted = tally()
    for told in (False, True, True, False, True):
        publish(
            counted, status(on=told, cause="genuine" if told else "", sent=NOW_MS + counted.published * 1000)
        )
    assert (counted.calls["A", "sos"].least, counted.calls["A", "sos"].most) == (2, 2)
    assert counted.rows[Bucket("A", "sos", DAY)].distinct == 2
    assert counted.causes == {"sos genuine": 3}


def test_a_copy_that_begins_a_state_again_may_be_a_retry() -> None:
    """Its row stands already, but it may be a call again."""
    counted = tally()
    pressed, released = status(on=True, cause="slip"), status(on=False, sent=NOW_MS + 1000)
    publish(counted, pressed)
    publish(counted, released)
    counted.note("A", Sending(START, 2, 1, pressed), START)
    assert (counted.calls["A", "sos"].least, counted.calls["A", "sos"].most) == (1, 2)
    assert counted.rows[Bucket("A", "sos", DAY)] == Rows(1, folded=1, sent=NOW_MS)
    assert counted.calls["A", "sos"].at == [START]


def test_what_is_published_again_after_a_lost_connection_may_be_there_once_more() -> None:
    """Unless it bears a time by which it can be told."""
    counted = tally()
    for rows in ((Row("vitals", NOW_MS),), (Row("heartbeat", None),)):
        again = message(*rows, call="sos", cause="slip", dead=("bad_field", False))
        publish(counted, again)
        counted.note_again("A", Sending(START, 1, 0, again), START)
    assert [(rows.distinct, rows.perhaps, rows.folded) for rows in counted.rows.values()] == [
        (1, 0, 1),
        (1, 1, 0),
    ]
    assert (counted.calls["A", "sos"].least, counted.calls["A", "sos"].most) == (2, 4)
    assert (list(counted.dead.values()), list(counted.dead_again.values())) == ([2], [2])
    assert counted.again == 2


def test_what_is_said_is_a_weighted_sum_in_tenths() -> None:
    """No value can stand in the place of another; texts are numbers, what is no reading counts nothing."""
    fields = {"hr": 72, "spo2": 97, "temp": 36.6, "steps": 10, "worn": True, "rssi": -70}
    assert said(fields) == 720 + 970 * 3 + 366 * 7 + 100 * 17
    assert said({"hr": "72", "battery": 55.3}) == 1273
    assert said({"hr": 72, "spo2": 96}) != said({"hr": 96, "spo2": 72})
    assert said({"sbp": 120, "dbp": 80}) != said({"sbp": 80, "dbp": 120})
    assert said({"hr": 255, "spo2": 1, "temp": 0, "sbp": 0, "steps": 0, "battery": None}) == 0
    assert said({"hr": "abc", "spo2": [], "temp": {}}) == 0


def test_a_tally_survives_its_file(tmp_path: Path) -> None:
    """What is read is what was written; a file of something else is refused by name."""
    written = good()[0]
    path = tmp_path / "t.json"
    written.write(path)
    assert Tally.is_one(path)
    assert Tally.read(path) == written
    said_so = json.loads(path.read_text())
    for emptied in ("rows", "calls", "dead", "devices"):
        path.write_text(json.dumps(said_so | {emptied: []}))
        with pytest.raises(UsageError, match="not all of a tally"):
            Tally.read(path)
    path.write_text('{"tally": 2, "rows": 5}')
    with pytest.raises(UsageError, match=r"t\.json: not a tally"):
        Tally.read(path)
    path.write_text('{"seed": 1}')
    assert not Tally.is_one(path)
    assert not Tally.is_one(tmp_path / "none.json")


# ------------------------------------------------------------------------------------------------------ audit

VITALS = Bucket("A", "vitals", DAY)
DEAD = DeadKey("t", "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", "not_json", True)  # noqa: FBT003 - a tuple's place
BROKEN = DEAD._replace(reason="bad_message")


def good() -> tuple[Tally, Held]:
    """Return a tally and a database that holds exactly that."""
    counted = tally()
    for n in range(3):
        publish(counted, message(Row("vitals", NOW_MS + n * 1000, 720)), 5)
    publish(counted, message(Row("sos", None), call="sos", cause="genuine"))
    publish(counted, message(Row("sos", NOW_MS + 8 * 3_600_000)), 5, device="B")
    publish(counted, message(Row("vitals", 1000)), 5, device="B")
    publish(counted, message(dead=("not_json", True)))
    publish(counted, message(call="fall", cause="fell", dead=("bad_message", True)))
    held = Held(
        rows={
            VITALS: HeldRows(3, 3, 3 * NOW_MS + 3000, 2160),
            Bucket("A", "sos", None): HeldRows(1, 1, 0, 0),
            Bucket("B", "sos", (NOW_MS + 8 * 3_600_000) // DAY_MS): HeldRows(2, 1, NOW_MS + 8 * 3_600_000, 0),
            Bucket("B", "vitals", 0): HeldRows(2, 1, 1000, 0, away=2),
            Bucket("OTHER", "vitals", DAY): HeldRows(9, 9, 9, 9),
        },
        alarms=[alarm(), FALL, alarm(device="OTHER")],
        received={("A", "sos"): [START + 2 * SECOND], ("OTHER", "sos"): [START + 9 * SECOND]},
        unreadable={DEAD[:2]: [START + SECOND]},
        dead={DEAD: 1, BROKEN: 1, DEAD._replace(topic="other"): 5},
    )
    return counted, held


def alarm(**more: object) -> HeldAlarm:
    """Return the alarm of the call."""
    told = {
        "device": "A",
        "kind": "sos",
        "count": 1,
        "raised_at": START + SECOND,
        "last_at": START + 2 * SECOND,
        "closed_at": None,
        "hidden": "",
    }
    return HeldAlarm(**told | more)  # type: ignore[arg-type]


FALL = alarm(kind="fall")


def test_nothing_is_wrong_with_what_is_right() -> None:
    """A database that holds what it must has no difference; other people's devices are left alone."""
    audit = compare(*good())
    assert audit.ok, audit.differences
    assert (audit.rows, audit.calls, audit.alarms, audit.activations, audit.dead) == (6, 2, 2, 2, 2)
    assert not audit.may_be_under_way


def _rows(
    number: int = 3, distinct: int = 3, sent: int = 3 * NOW_MS + 3000, said_sum: int = 2160, **moved: int
) -> Callable[[Held], None]:
    return lambda held: held.rows.update({VITALS: HeldRows(number, distinct, sent, said_sum, **moved)})


def _boot(number: int) -> Callable[[Held], None]:
    return lambda held: held.rows.update(
        {Bucket("B", "vitals", 0): HeldRows(number, 1, 1000, 0, away=number)}
    )


def _alarms(*alarms: HeldAlarm) -> Callable[[Held], None]:
    return lambda held: setattr(held, "alarms", [*alarms, FALL])


def _dead(number: int, **more: object) -> Callable[[Held], None]:
    return lambda held: setattr(held, "dead", {DEAD._replace(**more): number, BROKEN: 1})  # type: ignore[arg-type]


def _late() -> HeldAlarm:
    return alarm(raised_at=LATER, last_at=LATER)


LATER = START + 3 * HOUR


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (_rows(2, 2), ["lost"]),
        (_rows(4, 4), ["double"]),
        (_rows(4, 3), ["double"]),
        (_rows(3, 2), ["lost"]),
        (_boot(1), ["lost"]),
        (_boot(3), ["double"]),
        (_rows(sent=3 * NOW_MS), ["other_rows"]),
        (_rows(said_sum=2161), ["other_values"]),
        (_rows(away=1), ["other_times"]),
        (_rows(4, 3, away=1), ["double"]),
        (lambda held: held.rows.pop(VITALS), ["lost"]),
        (lambda held: held.rows.update({VITALS._replace(day=1): HeldRows(1, 1, 1, 1)}), ["double"]),
        (_alarms(), ["too_few", "call_missed", "call_missed"]),
        (_alarms(alarm(count=2)), ["too_many"]),
        (_alarms(alarm(closed_at=START - 1)), ["call_missed"]),
        (_alarms(_late()), ["call_missed", "call_missed", "false_alarm"]),
        (_alarms(alarm(), _late()), ["too_many", "false_alarm"]),
        (_alarms(alarm(hidden="marked as a drill")), ["hidden"]),
        (_alarms(alarm(raised_at=START + 3 * SECOND, last_at=START + 3 * SECOND)), ["call_missed"]),
        (lambda held: held.unreadable.update({DEAD[:2]: [LATER]}), ["call_missed"]),
        (_alarms(alarm(device="B")), ["too_few", "call_missed", "call_missed", "too_many", "false_alarm"]),
        (_alarms(alarm(), alarm(device="B", kind="fall")), ["too_many", "false_alarm"]),
        (_dead(0), ["dead_missing"]),
        (_dead(2), ["dead_surplus"]),
        (_dead(1, reason="empty"), ["dead_surplus", "dead_missing"]),
        (_dead(1, whole=False), ["dead_surplus", "dead_missing"]),
        (_dead(1, sha256="ff"), ["dead_missing", "dead_surplus"]),
    ],
)
def test_every_damage_is_found(damage: Callable[[Held], None], found: list[str]) -> None:
    """Lost, double, other rows, calls missed or made up, hidden ones, dead letters: each is a line."""
    counted, held = good()
    damage(held)
    audit = compare(counted, held)
    assert [each.what for each in audit.differences] == found
    assert not audit.ok


@pytest.mark.parametrize(
    ("damage", "waits"),
    [(_rows(2, 2), True), (_alarms(), True), (_dead(0), True), (_rows(4, 3), False), (_dead(2), False)],
)
def test_what_is_missing_may_be_under_way(damage: Callable[[Held], None], *, waits: bool) -> None:
    """It is worth waiting for what is not there yet, not for what must not be there."""
    counted, held = good()
    damage(held)
    assert compare(counted, held).may_be_under_way is waits


def test_a_call_may_be_received_a_little_later() -> None:
    """The backlog of broker and line is allowed for: a minute of real time, a hundred at this speed."""
    counted, held = good()
    at = START + 99 * 60 * SECOND
    held.received, held.alarms = {("A", "sos"): [at]}, [alarm(raised_at=at, last_at=at), FALL]
    assert compare(counted, held).ok
    at += 120 * SECOND
    held.received, held.alarms = {("A", "sos"): [at]}, [alarm(raised_at=at, last_at=at), FALL]
    assert not compare(counted, held).ok


def test_a_copy_may_stand_beside_its_row_where_a_zone_was_taken_for_wrong() -> None:
    """A line that is hours late makes a clock look like one of another zone: so many copies, and no more."""
    counted, held = good()
    _rows(5, 3, moved=2)(held)
    assert compare(counted, held).ok
    _rows(6, 3, moved=2)(held)
    assert [each.what for each in compare(counted, held).differences] == ["double"]
    _rows(7, 3, moved=4)(held)
    assert [each.what for each in compare(counted, held).differences] == ["double"]
