"""A made-up fortnight of a small town, for the pictures of the boards: the same rows each time.

Every name is drawn from lists, no telephone number stands anywhere, and now is NOW: a function of that name
goes before the server's own.
"""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import psycopg
from psycopg.types.json import Jsonb

from device_sims.cards import REGIONS
from schemas.alarms import KINDS, Class

NOW: Final = datetime(2026, 10, 20, 10, 24, tzinfo=timezone(timedelta(hours=8)))
DAYS: Final = 14
STREETS: Final = [region for region in REGIONS if len(region) > len("430602")]
OUT: Final = "430602003"
STAFF: Final = ("王芳", "李强", "陈静")
MODELS: Final = ("bell", "bell", "caller", "band")
OUTCOMES: Final = (
    "accidental",
    "check_in",
    "accidental",
    "test",
    "medical",
    "fall",
    "other_help",
    "no_contact",
)
COUNT: Final = 240
BAND: Final = 4
DEVICE, PERSON = "BAND-0004", "P4"
"""The device and the person whose boards are drawn."""


def fill(connection: psycopg.Connection) -> None:
    """Fill a database that has its tables, and let it be NOW for this connection."""
    chance = random.Random(20261020)  # noqa: S311 - the same rows each time
    connection.execute("CREATE SCHEMA pictures")
    connection.execute("GRANT USAGE ON SCHEMA pictures TO carebell_board")
    connection.execute(
        f"CREATE FUNCTION pictures.now() RETURNS timestamptz STABLE LANGUAGE sql AS"
        f" $$ SELECT timestamptz '{NOW.isoformat()}' $$"
    )
    connection.execute("SET search_path = pictures, public, pg_catalog")
    connection.execute(
        "SELECT set_config('carebell.at', %s, false)", [(NOW - timedelta(days=90)).isoformat()]
    )
    _register(connection, chance)
    for alarm in (*_past(chance), *_present(chance)):
        _raise(connection, alarm)
    _drill(connection)
    _history(connection, chance)


def _register(connection: psycopg.Connection, chance: random.Random) -> None:
    """Enter regions, and a person for each device."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO regions (region, name, lat, lon) VALUES (%s, %s, %s, %s)",
            [(region, *named) for region, named in REGIONS.items()],
        )
        for number in range(1, COUNT + 1):
            name = chance.choice("李王张刘陈杨黄周吴彭") + chance.choice(
                ("桂英", "秀兰", "德华", "国强", "淑芬", "建国")
            )
            street = STREETS[number % len(STREETS)]
            address = f"{REGIONS[street][0]}巴陵中路{chance.randint(1, 280)}号"
            sex = chance.choice(("female", "male"))
            cursor.execute(
                "INSERT INTO people (name, birth_year, sex, address, care_level) VALUES (%s, %s, %s, %s, %s)",
                (name, 2026 - chance.randint(66, 93), sex, address, chance.choice(("自理", "介助", "介护"))),
            )
            cursor.execute(
                "INSERT INTO contacts (person_id, rank, name, relation, phone)"
                " VALUES (%s, 1, %s, '女儿', '')",
                (number, name[0] + "敏"),
            )
            model = MODELS[number % len(MODELS) - 1]
            cursor.execute(
                "INSERT INTO devices (device, region, model, person_id, registered_at)"
                " VALUES (%s, %s, %s, %s, now())",
                (f"{model.upper()}-{number:04d}", street, model, number),
            )
        cursor.execute(
            "INSERT INTO devices (device, region, self_registered) VALUES (%s, %s, true)",
            (f"?area:{OUT}", OUT),
        )


def _raise(connection: psycopg.Connection, alarm: dict[str, Any]) -> None:
    """Write an alarm as it stands in the end."""
    kind = KINDS[alarm["kind"]]
    row = {
        "class": kind.alarm_class.value,
        "severity": kind.severity.value,
        "quality": "ok",
        "condition": "active",
        "last_at": alarm["raised_at"],
        "person_id": alarm["device_id"] if alarm["device_id"] <= COUNT else None,
        **alarm,
    }
    names = ", ".join(row)
    marks = ", ".join(f"%({name})s" for name in row)
    connection.execute(f"INSERT INTO alarms ({names}) VALUES ({marks})".encode(), row)  # noqa: S608 - names of ours


def _past(chance: random.Random) -> Iterator[dict[str, Any]]:
    """Give what was closed: more by day than by night, most of it nobody's need."""
    kinds = ("sos", "sos", "sos", "fall", "hr_high", "inactivity", "low_battery", "device_silent")
    for day in range(DAYS):
        for _ in range(chance.randint(70, 110)):
            hour = min(23.9, max(0.0, chance.gauss(14, 5)))
            at = NOW.replace(hour=0, minute=0) - timedelta(days=DAYS - day) + timedelta(hours=hour)
            yield _closed(chance, chance.choice(kinds), at)
    flood = NOW - timedelta(days=3, hours=1)
    for _ in range(80):
        yield _closed(chance, "sos", flood + timedelta(seconds=chance.uniform(0, 600)))


def _closed(chance: random.Random, kind: str, at: datetime) -> dict[str, Any]:
    """Return an alarm that ended."""
    alarm = {"device_id": chance.randint(1, COUNT), "kind": kind, "raised_at": at, "handling": "closed"}
    if KINDS[kind].alarm_class is Class.TECHNICAL:
        ended = at + timedelta(minutes=chance.uniform(20, 900))
        return alarm | {
            "condition": "cleared",
            "closed_at": ended,
            "closed_by": "carebell",
            "outcome": "cleared",
        }
    seconds = chance.lognormvariate(2.9, 0.5) if chance.random() < 0.985 else chance.uniform(90, 400)  # noqa: PLR2004
    answered = at + timedelta(seconds=seconds)
    operator = chance.choice(STAFF)
    outcome = chance.choice(OUTCOMES)
    alarm |= {
        "acknowledged_at": answered,
        "acknowledged_by": operator,
        "outcome": outcome,
        "closed_by": operator,
        "closed_at": answered + timedelta(minutes=chance.uniform(2, 9)),
        "count": chance.choice((1, 1, 1, 2, 5)),
    }
    if outcome in ("medical", "fall", "other_help"):
        arrived = answered + timedelta(minutes=chance.lognormvariate(1.9, 0.5))
        alarm |= {
            "dispatched_at": answered + timedelta(minutes=1),
            "dispatched_to": "网格员小李",
            "arrived_at": arrived,
            "closed_at": arrived + timedelta(minutes=chance.uniform(10, 40)),
        }
    return alarm


def _present(chance: random.Random) -> Iterator[dict[str, Any]]:
    """Give what is open: three calls, an area that is out, devices that are silent or low."""

    def at(minutes: float) -> dict[str, Any]:
        return {"raised_at": NOW - timedelta(minutes=minutes)}

    yield {"device_id": BAND, "kind": "sos", **at(0.4), "count": 2}
    yield {"device_id": 17, "kind": "fall", **at(2.2)}
    taken = {"acknowledged_at": NOW - timedelta(minutes=13), "acknowledged_by": "王芳"}
    sent = {"dispatched_at": NOW - timedelta(minutes=11), "dispatched_to": "网格员小李"}
    yield {"device_id": 33, "kind": "sos", **at(13.5), **taken, **sent, "handling": "dispatched"}
    yield {"device_id": BAND, "kind": "hr_high", **at(47)}
    yield {
        "device_id": 60,
        "kind": "inactivity",
        **at(200),
        "acknowledged_at": NOW,
        "acknowledged_by": "李强",
        "handling": "acknowledged",
    }
    yield {"device_id": 71, "kind": "hr_low", **at(60), "shelved_until": NOW + timedelta(hours=2)}
    for number in chance.sample([each for each in range(5, COUNT) if STREETS[each % 6] != OUT], 9):
        yield {"device_id": number, "kind": "device_silent", **at(chance.uniform(20, 4000))}
    for number in chance.sample(range(5, COUNT), 12):
        yield {"device_id": number, "kind": "low_battery", **at(chance.uniform(20, 3000))}
    yield {"device_id": COUNT + 1, "kind": "area_outage", **at(38)}
    for number in [each for each in range(1, COUNT + 1) if STREETS[each % 6] == OUT][:31]:
        yield {"device_id": number, "kind": "device_silent", **at(36), "suppressed": OUT}


def _drill(connection: psycopg.Connection) -> None:
    """Write a drill that is over: two calls, both answered."""
    began = NOW - timedelta(days=6, hours=1)
    connection.execute(
        "INSERT INTO drills (region, began_at, began_by, ends_at, heard_until, after_alarm_id)"
        " VALUES ('430602', %s, '王芳', %s, %s, 0)",
        (began, began + timedelta(minutes=30), began + timedelta(minutes=30)),
    )
    for number, seconds in ((COUNT + 2, 21), (COUNT + 3, 34)):
        at = began + timedelta(minutes=number - COUNT)
        connection.execute(
            "INSERT INTO devices (device, region, drill) VALUES (%s, '430602', true)", (f"DRILL-{number}",)
        )
        connection.execute("INSERT INTO drill_calls VALUES (1, %s, 'sos', %s, %s)", (number, at, at))
        answer = {"acknowledged_at": at + timedelta(seconds=seconds), "acknowledged_by": "李强"}
        closed = {"handling": "closed", "closed_at": at + timedelta(minutes=4), "closed_by": "李强"}
        alarm = {"device_id": number, "kind": "sos", "raised_at": at, "drill": True, "outcome": "accidental"}
        _raise(connection, alarm | answer | closed)


def _history(connection: psycopg.Connection, chance: random.Random) -> None:
    """Write a day of one band: a night's sleep, a pulse that rises, and the call with its place."""
    place = {"lat": 29.3712, "lon": 113.1277}
    common = "device_id, ts, received_at, time_quality, digest, batch"
    with connection.cursor() as cursor:
        for step in range(24 * 12):
            at = NOW - timedelta(minutes=5 * step)
            asleep = at.hour < 6  # noqa: PLR2004 - o'clock
            worn = not (13 <= at.hour < 15)  # noqa: PLR2004 - the same
            fixed = (BAND, at, at, 0, step, 1)
            values: tuple[object, ...] = (None, None, None, False)
            pressure: tuple[float | None, float | None] = (None, None)
            if worn:
                pulse = (58 if asleep else 74) + chance.gauss(0, 3) + max(0, 45 - step * 3)
                values = (pulse, 97 + chance.gauss(0, 0.6), 36.5 + chance.gauss(0, 0.1), True)
                if step % 36 == 0:
                    pressure = (131 + chance.gauss(0, 5), 79 + chance.gauss(0, 4))
            cursor.execute(
                f"INSERT INTO vitals ({common}, hr, spo2, temp, worn, sbp, dbp, glucose)"  # noqa: S608 - constants
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (*fixed, *values, *pressure, 5.4 + chance.gauss(0, 0.3) if step % 72 == 0 else None),
            )
            cursor.execute(
                f"INSERT INTO activity ({common}, motion) VALUES (%s, %s, %s, %s, %s, %s, %s)",  # noqa: S608 - the same
                (*fixed, not asleep and chance.random() < 0.6),  # noqa: PLR2004 - the same
            )
            cursor.execute(
                f"INSERT INTO heartbeats ({common}, battery, rssi)"  # noqa: S608 - the same
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                (*fixed, 41 + step / 8, -70 + chance.gauss(0, 4)),
            )
        at = NOW - timedelta(minutes=0.4)
        cursor.execute(
            f"INSERT INTO events ({common}, channel, event, detail) VALUES (%s, %s, %s, 0, 1, 1, 0, 1, %s)",  # noqa: S608 - the same
            (BAND, at, at, Jsonb(place)),
        )
        cursor.execute(
            f"INSERT INTO heartbeats ({common}, battery, rssi)"  # noqa: S608 - the same
            " SELECT device_id, last_at - interval '16 minutes', last_at, 0, 1, 1,"
            " CASE kind WHEN 'low_battery' THEN 4 + device_id %% 15 ELSE 30 + device_id %% 60 END, -80"
            " FROM alarms WHERE closed_at IS NULL AND kind IN ('device_silent', 'low_battery')"
            " AND device_id <> %s",
            [BAND],
        )
