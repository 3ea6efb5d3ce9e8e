"""What the embedded parts promise, on the real programs."""

import os
import queue
import select
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from ops.parts import Broker, Database, best_broker, embedded_database, find_mosquitto, free_port, scratch_dir
from ops.parts.process import PartError, Process
from tests.conftest import DEVICES
from tests.mqtt import Client, RefusedError

TOPIC = "carebell/v1/430602/{}/sos"


def test_a_broker_carries_a_message_at_qos_1(broker: Broker) -> None:
    """What the town publishes reaches the bridge, and the broker acknowledges it."""
    with Client(broker.url) as bridge, Client(broker.town_url) as town:
        bridge.subscribe(TOPIC.format("BELL-7"))
        assert not town.publish(TOPIC.format("BELL-7"), b'{"seq": 1}').is_failure
        message = bridge.receive()
    assert (message.topic, message.payload, message.qos) == (TOPIC.format("BELL-7"), b'{"seq": 1}', 1)


def test_a_broker_carries_a_payload_of_a_mebibyte(broker: Broker) -> None:
    """An oversized payload arrives, so that it can become a dead letter instead of vanishing."""
    with Client(broker.url) as bridge, Client(broker.town_url) as town:
        bridge.subscribe(TOPIC.format("BELL-8"))
        town.publish(TOPIC.format("BELL-8"), bytes(1024 * 1024))
        assert len(bridge.receive().payload) == 1024 * 1024


def test_a_broker_refuses_who_does_not_log_in(broker: Broker) -> None:
    """Neither nobody nor a wrong password gets in."""
    nobody = f"mqtt://{broker.host}:{broker.port}"
    with pytest.raises(RefusedError), Client(nobody):
        pass
    with pytest.raises(RefusedError), Client(nobody, user="carebell", password="wrong"):
        pass


def test_a_device_publishes_under_its_own_name_only(fresh_mosquitto: Broker) -> None:
    """BELL-1 speaks as BELL-1; as BELL-2 it is told "not authorized", and nobody hears it."""
    with (
        Client(fresh_mosquitto.url) as bridge,
        Client(fresh_mosquitto.url, user="BELL-1", password=DEVICES["BELL-1"]) as bell,
    ):
        bridge.subscribe("carebell/v1/#")
        assert bell.publish(TOPIC.format("BELL-2"), b"false").getName() == "Not authorized"
        assert not bell.publish(TOPIC.format("BELL-1"), b"true").is_failure
        assert bridge.receive().payload == b"true"
        with pytest.raises(queue.Empty):
            bridge.messages.get_nowait()


def test_a_device_hears_what_is_sent_to_it_only(fresh_mosquitto: Broker) -> None:
    """The bridge's downlink reaches its device and not the neighbour who asks for everything."""
    bell, neighbour = (
        Client(fresh_mosquitto.url, user=user, password=word) for user, word in DEVICES.items()
    )
    with Client(fresh_mosquitto.url) as bridge, bell, neighbour:
        bell.subscribe("carebell/down/v1/+/BELL-1/#")
        neighbour.subscribe("carebell/down/v1/#")
        bridge.publish("carebell/down/v1/430602/BELL-1/alarm", b"help is coming")
        assert bell.receive().payload == b"help is coming"
        bridge.publish("carebell/unstored/v1/430602/BELL-1/sos", b"not for devices")
        bridge.publish("carebell/down/v1/430602/BELL-2/alarm", b"yours")
        assert neighbour.receive().payload == b"yours"
        assert neighbour.messages.empty()


def test_the_bridge_cannot_speak_for_a_device(fresh_mosquitto: Broker) -> None:
    """Who steals the bridge's password cannot raise alarms with it."""
    with Client(fresh_mosquitto.url) as bridge:
        assert bridge.publish(TOPIC.format("BELL-1")).getName() == "Not authorized"


def test_mosquitto_keeps_what_it_owes_over_a_restart(fresh_mosquitto: Broker) -> None:
    """Messages for an absent session, more than mosquitto's default of 1,000, survive a clean restart."""
    count = 3_000
    with Client(fresh_mosquitto.url, "bridge", session_expiry=3600) as bridge:
        bridge.subscribe("carebell/v1/#")
    with Client(fresh_mosquitto.town_url) as town:
        sent = [town.paho.publish(TOPIC.format("BELL-1"), str(n), qos=1) for n in range(count)]
        for message in sent:
            message.wait_for_publish(10)
    before = fresh_mosquitto.pid
    fresh_mosquitto.restart()
    assert fresh_mosquitto.pid != before
    with Client(fresh_mosquitto.url, "bridge", session_expiry=3600) as bridge:
        assert [int(bridge.receive().payload) for _ in range(count)] == list(range(count))


@pytest.mark.no_tables
def test_a_database_answers_and_is_empty(database: Database) -> None:
    """Each test gets a database without tables, in UTF-8, that knows the time in Shanghai."""
    with psycopg.connect(database.url) as connection:
        row = connection.execute(
            "SELECT count(*), current_setting('server_encoding'), lower('Ä'),"
            "       timestamptz '2026-01-01 00:00Z' AT TIME ZONE 'Asia/Shanghai' = '2026-01-01 08:00'"
            "  FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone()
    assert row == (0, "UTF8", "ä", True)


@pytest.mark.no_tables
def test_the_timescale_edition_has_the_extension(timescale: Database) -> None:
    """Hypertables can be made in the reference database."""
    with psycopg.connect(timescale.url) as connection:
        connection.execute("CREATE EXTENSION timescaledb")
        connection.execute("CREATE TABLE vitals (ts timestamptz NOT NULL, hr real)")
        connection.execute("SELECT create_hypertable('vitals', by_range('ts'))")
        connection.execute("INSERT INTO vitals VALUES (now(), 72)")
        chunks = connection.execute("SELECT count(*) FROM show_chunks('vitals')").fetchone()
    assert chunks == (1,)


def test_a_database_refuses_a_wrong_password(database: Database) -> None:
    """Another user of this machine cannot walk in by the open port."""
    wrong = psycopg.conninfo.make_conninfo(database.url, password="wrong")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(wrong)


def test_a_database_keeps_its_data_over_kill_and_restart(database: Database) -> None:
    """What was committed is there after kill -9 and after a restart, under the same URL."""
    with psycopg.connect(database.url) as connection:
        connection.execute("CREATE TABLE kept (n integer)")
        connection.execute("INSERT INTO kept VALUES (1)")
    database.kill()
    database.start()
    with psycopg.connect(database.url) as connection:
        connection.execute("INSERT INTO kept VALUES (2)")
    database.restart()
    with psycopg.connect(database.url) as connection:
        assert connection.execute("SELECT n FROM kept ORDER BY n").fetchall() == [(1,), (2,)]


def test_the_same_directory_is_the_same_database(scratch: Path) -> None:
    """Data written in one `with` block is there in the next."""
    with embedded_database(scratch) as database, psycopg.connect(database.url) as connection:
        connection.execute("CREATE TABLE kept ()")
    with embedded_database(scratch) as database, psycopg.connect(database.url) as connection:
        connection.execute("SELECT FROM kept")


def test_the_best_broker_is_mosquitto_where_there_is_one(scratch: Path) -> None:
    """The demo keeps sessions whenever it can, and knows when it cannot."""
    with best_broker(scratch) as broker:
        assert broker.keeps_sessions == (find_mosquitto() is not None)


def test_a_part_ends_when_we_are_killed(scratch: Path) -> None:
    """After kill -9 of the process that runs a part, the part ends by itself."""
    script = (
        "import pathlib, sys, time; from ops.parts import iotcore_broker\n"
        "with iotcore_broker(pathlib.Path(sys.argv[1])) as part: print(part.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(scratch)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        part = os.pidfd_open(int(owner.stdout.readline()))
        owner.kill()
    ended, _, _ = select.select([part], [], [], 10)
    os.close(part)
    assert ended


def test_a_part_that_cannot_start_says_why(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's own last words are in the error."""
    monkeypatch.setattr("ops.parts.process.RETRY_SECONDS", 0.0)
    process = Process(["/bin/sh", "-c", "echo no such luck; exit 1"], lambda: False, scratch / "log")
    with pytest.raises(PartError, match="no such luck"):
        process.start()


def test_a_directory_that_nobody_may_enter_is_refused() -> None:
    """As root, a place below a closed directory is refused with a reason, and the directory stays closed."""
    if os.geteuid():
        pytest.skip("only root runs its parts as somebody else")
    with scratch_dir() as closed:
        closed.chmod(0o700)
        with pytest.raises(PartError, match="nobody"), embedded_database(closed):
            pass
        assert closed.stat().st_mode & 0o777 == 0o700


def test_a_part_that_others_run_is_left_alone() -> None:
    """A service given by URL is not stopped by a test."""
    with pytest.raises(PartError, match="somebody else"):
        Database("postgresql://127.0.0.1/x", "timescale").stop()


def test_a_free_port_lies_below_those_of_outgoing_connections() -> None:
    """A client that retries cannot be given a stopped part's port."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert free_port() < first
