"""The obvious bridge: a callback for each message, and one writer that commits what has come.

paho's thread receives, parses and evaluates, one message at a time. The main thread writes what has come in
one transaction, as soon as there are `MOST` messages or the first one has waited for `PATIENCE`, and then
acknowledges each. How a batch's rows are written is the difference between the two peers.
"""

import contextlib
import queue
import signal
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import paho.mqtt.client as paho
import psycopg
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions
from pydantic import ValidationError

from bench.child import say, task
from bench.peers.messages import MODELS, Vitals
from bench.peers.rules import Alarm, Rules

MOST: Final = 5_000
PATIENCE: Final = 0.1
RECEIVE_MAX: Final = 20_000
FIRST_BATCH: Final = -(2**40)
"""Below 0, so that no bridge takes these rows for batches to replay."""
OLDEST, NEWEST = 30 * 86_400, 300

KEY: Final = ("device_id", "ts", "received_at", "time_quality", "ts_sent", "seq", "digest", "batch")
COLUMNS: Final = {
    "vitals": (*KEY, "hr", "spo2", "temp", "sbp", "dbp", "glucose", "worn", "steps"),
    "heartbeats": (*KEY, "battery", "rssi", "mains"),
    "activity": (*KEY, "motion", "steps", "room"),
    "events": (*KEY, "channel", "event"),
}
TABLES: Final = {"vitals": "vitals", "heartbeat": "heartbeats", "activity": "activity"}
NUMBERS: Final = {"sos": 1, "fall": 2, "event": 3, "status": 7}
WORDS: Final = (
    "sos detected confirmed cancelled low_battery tamper mains_lost mains_restored test reset removed worn"
    " check_in area_left area_entered online offline"
)
EVENTS: Final = {word: number for number, word in enumerate(WORDS.split(), 1)}
CLASSES: Final = {
    "sos": "life",
    "fall": "life",
    "hr_high": "health",
    "hr_low": "health",
    "spo2_low": "health",
}

Row = tuple[Any, ...]
Write = Callable[["psycopg.Cursor[Any]", str, Sequence[str], list[Row]], None]
"""Write rows of one table: cursor, table, its columns, rows."""


class Taken(NamedTuple):
    """A message on its way: its packet id, its rows of a table, and the alarms that it makes or ends."""

    mid: int
    table: str
    rows: list[Row]
    alarms: list[Alarm]


class Bridge:
    """One client, one connection, one queue between them."""

    def __init__(self, database_url: str, write: Write) -> None:
        """Read the registry; devices that are not in it are dead letters."""
        self._write = write
        self._database = psycopg.connect(database_url)
        rows = self._database.execute("SELECT device, device_id FROM devices").fetchall()
        self._ids: dict[str, int] = dict(rows)
        self._database.commit()
        self._rules = Rules()
        self._taken: queue.SimpleQueue[Taken] = queue.SimpleQueue()
        self._batch = FIRST_BATCH
        self._running = True
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, "bench-peer", protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
        )
        self._client.on_connect = self._connected
        self._client.on_subscribe = lambda *_: say("ready")
        self._client.on_message = self._received

    def run(self, host: str, port: int, username: str, password: str) -> None:
        """Work until SIGTERM."""
        signal.signal(signal.SIGTERM, self._stop)
        self._client.username_pw_set(username, password)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho has no annotation here
        properties.SessionExpiryInterval = 0xFFFF_FFFF
        properties.ReceiveMaximum = RECEIVE_MAX
        self._client.connect(host, port, clean_start=False, properties=properties)
        self._client.loop_start()
        next_scan = time.time() + 1
        while self._running:
            self._commit(self._next_batch())
            if time.time() > next_scan:
                next_scan = time.time() + 1
                self._raise(self._rules.scan(time.time()))
        self._client.loop_stop()

    def _stop(self, *_: object) -> None:
        self._running = False

    def _connected(self, client: paho.Client, *_: object) -> None:
        client.subscribe("carebell/v1/#", options=SubscribeOptions(qos=1))

    # ---------------------------------------------------------------------------------- paho calls this

    def _received(self, _c: object, _u: object, message: paho.MQTTMessage) -> None:
        now = time.time()
        try:
            table, rows, alarms = self._parsed(message.topic, bytes(message.payload), now)
        except (ValidationError, ValueError, KeyError, IndexError) as error:
            reason = f"{type(error).__name__}: {error}"[:500]
            table, alarms = "dead_letters", []
            rows = [(datetime.fromtimestamp(now, UTC), message.topic, message.payload, reason)]
        self._taken.put(Taken(message.mid, table, rows, alarms))

    def _parsed(self, topic: str, payload: bytes, now: float) -> tuple[str, list[Row], list[Alarm]]:
        """Return the table, the rows without their batch, and the alarms of one message."""
        _, _, _, device, channel = topic.split("/")
        message = MODELS[channel].model_validate_json(payload)
        device_id = self._ids[device]
        table, rows, alarms = TABLES.get(channel, "events"), [], []
        for each in (message.readings or [message]) if isinstance(message, Vitals) else [message]:
            sent = None if each.ts is None else each.ts / 1000
            in_time = sent is not None and now - OLDEST <= sent <= now + NEWEST
            at = sent if sent is not None and in_time else now
            alarms += self._rules.evaluate(device_id, channel, each, at, now)
            said = payload if each is message else each.model_dump_json().encode()
            digest = zlib.crc32(said, zlib.crc32(channel.encode()))
            moment, received = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
            key = (device_id, moment, received, 0 if in_time else 1, each.ts, each.seq, digest)
            rows.append((*key, *_values(channel, each, table)))
        return table, rows, alarms

    # ------------------------------------------------------------------------------------- the writer

    def _next_batch(self) -> list[Taken]:
        """Wait for messages: up to MOST, or those that come within PATIENCE of the first."""
        batch: list[Taken] = []
        with contextlib.suppress(queue.Empty):
            batch.append(self._taken.get(timeout=PATIENCE))
            end = time.monotonic() + PATIENCE
            while len(batch) < MOST and (left := end - time.monotonic()) > 0:
                batch.append(self._taken.get(timeout=left))
        return batch

    def _commit(self, batch: list[Taken]) -> None:
        """Write a batch in one transaction, and acknowledge it only then."""
        if not batch:
            return
        self._batch += 1
        rows: defaultdict[str, list[Row]] = defaultdict(list)
        for taken in batch:
            rows[taken.table] += taken.rows
        alarms = [alarm for taken in batch for alarm in taken.alarms]
        with self._database.transaction(), self._database.cursor() as cursor:
            self._bury(cursor, rows.pop("dead_letters", []))
            for table, values in rows.items():
                place = KEY.index("batch")
                numbered = [(*row[:place], self._batch, *row[place:]) for row in values]
                self._write(cursor, table, COLUMNS[table], numbered)
            _write_alarms(cursor, alarms)
        for taken in batch:
            self._client.ack(taken.mid, 1)

    def _raise(self, alarms: list[Alarm]) -> None:
        with self._database.transaction(), self._database.cursor() as cursor:
            _write_alarms(cursor, alarms)

    def _bury(self, cursor: "psycopg.Cursor[Any]", letters: list[Row]) -> None:
        if letters:
            cursor.executemany(
                "INSERT INTO dead_letters (received_at, batch, topic, payload, payload_length,"
                " payload_sha256, reason, detail, whole)"
                " VALUES (%s, %s, %s, %s, %s, sha256(%s), 'bad_message', %s, true)",
                [(at, self._batch, topic, raw, len(raw), raw, why) for at, topic, raw, why in letters],
            )


def _values(channel: str, message: Any, table: str) -> Row:  # noqa: ANN401 - any of the models
    if table == "events":
        words = {"sos": "sos", "fall": "phase", "event": "kind", "status": "status"}
        return NUMBERS[channel], EVENTS[getattr(message, words[channel], "sos")]
    return tuple(getattr(message, name) for name in COLUMNS[table][len(KEY) :])


def _write_alarms(cursor: "psycopg.Cursor[Any]", alarms: list[Alarm]) -> None:
    for alarm in alarms:
        at = datetime.fromtimestamp(alarm.at, UTC)
        if alarm.is_raised:
            cursor.execute(
                "INSERT INTO alarms AS a"
                " (device_id, kind, class, severity, quality, condition, raised_at, last_at)"
                " VALUES (%s, %s, %s, 'high', 'ok', 'active', %s, %s) ON CONFLICT (device_id, kind)"
                " WHERE closed_at IS NULL DO UPDATE SET count = a.count + 1, last_at = excluded.last_at",
                (alarm.device_id, alarm.kind, CLASSES.get(alarm.kind, "technical"), at, at),
            )
        else:
            cursor.execute(
                "UPDATE alarms SET condition = 'cleared', cleared_at = %s"
                " WHERE device_id = %s AND kind = %s AND closed_at IS NULL",
                (at, alarm.device_id, alarm.kind),
            )


def main(write: Write) -> None:
    """Run a peer on what its parent says."""
    what = task()
    bridge = Bridge(what.pop("database_url"), write)
    bridge.run(**what)
