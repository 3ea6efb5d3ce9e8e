"""What README shows a newcomer: a message by hand, the alarm it makes, and what is done about it."""

import asyncio
import json
import shutil
from urllib.parse import urlsplit

import pytest

from tests.conftest import skip_service
from tests.installation import Installation, until
from tests.mqtt import Client

TOPIC = "carebell/v1/430602/BELL-0001/sos"


async def _mosquitto_pub(installed: Installation, topic: str, payload: str) -> None:
    program = shutil.which("mosquitto_pub")
    if program is None:
        skip_service("mosquitto_pub", "not installed: apt-get install mosquitto-clients")
    address = urlsplit(installed.broker.town_url)
    process = await asyncio.create_subprocess_exec(
        str(program),
        *("-h", str(address.hostname), "-p", str(address.port)),
        *("-u", str(address.username), "-P", str(address.password)),
        *("-q", "1", "-t", topic, "-m", payload),
    )
    assert await process.wait() == 0


async def _alarms(installed: Installation, *options: str) -> list[dict[str, object]]:
    code, output, errors = await installed.carebell("alarm", "list", "--json", *options)
    assert code == 0, errors
    found = json.loads(output)
    assert isinstance(found, list)
    return found


async def test_a_message_by_hand_is_an_alarm_that_somebody_handles(installed: Installation) -> None:
    """mosquitto_pub raises an alarm; ack, dispatch and close take it to its end; the device hears of each."""
    with Client(installed.broker.town_url) as device:
        device.subscribe("carebell/down/v1/430602/BELL-0001/alarm")
        await _mosquitto_pub(installed, TOPIC, "{}")
        (alarm,) = await until(lambda: _alarms(installed), bool)
        assert (alarm["device"], alarm["kind"], alarm["count"]) == ("BELL-0001", "sos", 1)
        number = str(alarm["alarm_id"])
        for command in (
            ("ack", number, "--by", "王芳"),
            ("dispatch", number, "--to", "网格员小李", "--by", "王芳"),
            ("close", number, "--outcome", "medical", "--by", "王芳"),
        ):
            code, _, errors = await installed.carebell("alarm", *command)
            assert code == 0, errors
        told = [json.loads(device.receive().payload)["state"] for _ in range(4)]
    assert told == ["raised", "acknowledged", "dispatched", "closed"]
    assert await _alarms(installed) == []
    log = await installed.rows("SELECT actor, verb FROM alarm_log ORDER BY log_id")
    assert log == [
        ("carebell", "raised"),
        ("王芳", "acknowledged"),
        ("王芳", "dispatched"),
        ("王芳", "closed"),
    ]


async def test_an_illegal_move_is_refused_by_name_and_changes_nothing(installed: Installation) -> None:
    """Closing what nobody acknowledged exits with 1 and a sentence, and the alarm stays as it is."""
    await _mosquitto_pub(installed, TOPIC, "{}")
    (alarm,) = await until(lambda: _alarms(installed), bool)
    code, _, errors = await installed.carebell("alarm", "close", str(alarm["alarm_id"]), "--outcome", "test")
    assert code == 1
    assert "unacknowledged" in errors
    assert (await _alarms(installed))[0]["handling"] == "unacknowledged"


@pytest.mark.parametrize(
    ("topic", "payload", "reason", "alarms"),
    [
        ("430602/BELL-1/sos", b"not json", "not_json", ["sos"]),
        ("430602/BELL-1/sos", b"", "empty", ["sos"]),
        ("430602/BELL-1/sos", b'{"ts": "yesterday"}', "bad_field", ["sos"]),
        ("430602/BELL-1/fall", b"\x00\x00\x00", "not_json", ["fall"]),
        ("430602/BELL-1/fall", b"x" * 1_048_576, "oversized", ["fall"]),
        ("yueyang/BELL-1/sos", b"{}", "bad_region", ["sos"]),
        ("430602/no such id/sos", b"{}", "bad_device", ["sos"]),
        ("430602/BELL-1/more/sos", b"{}", "bad_topic", ["sos"]),
        ("430602/BELL-1/event", b'{"kind": "exploded"}', "bad_message", []),
        ("430602/BELL-1/heartbeat", b'{"battery": "half"}', "bad_field", []),
        ("430602/BELL-1/vitals", b"[1, 2]", "not_json", []),
        ("430602/BELL-1/vitals", b"{" * 100_000, "oversized", []),
        ("430602/BELL-1/colour", b"{}", "unknown_channel", []),
        ("abc/BELL-1/vitals", b"{}", "bad_region", []),
    ],
)
async def test_bad_input_is_kept_with_its_reason_and_the_line_goes_on(
    installed: Installation, topic: str, payload: bytes, reason: str, alarms: list[str]
) -> None:
    """A bad message is one dead letter with its reason, on a life topic also an alarm; the next one works."""
    with Client(installed.broker.town_url) as device:
        device.publish(f"carebell/v1/{topic}", payload)
        device.publish("carebell/v1/430602/AFTER-1/sos")
        device.publish("carebell/v1/430602/AFTER-1/heartbeat")
    await installed.until_rows(
        "SELECT FROM heartbeats JOIN devices USING (device_id) WHERE device = 'AFTER-1'", bool
    )
    letters = await installed.rows("SELECT topic, payload, payload_length, reason FROM dead_letters")
    assert letters == [(f"carebell/v1/{topic}", payload[:65_536], len(payload), reason)]
    raised = await installed.until_rows(
        "SELECT device, kind FROM alarms JOIN devices USING (device_id)", lambda rows: len(rows) > len(alarms)
    )
    assert [kind for device, kind in raised if device != "AFTER-1"] == alarms
    assert ("AFTER-1", "sos") in raised


async def test_times_that_cannot_be_used_are_kept_and_replaced_by_receipt(installed: Installation) -> None:
    """1970 and a year ahead are stored with the time of receipt, the time as sent, and the quality's name."""
    ahead = 4_102_444_800_000
    with Client(installed.broker.town_url) as device:
        for ts in (0, ahead):
            device.publish("carebell/v1/430602/BAND-1/vitals", json.dumps({"ts": ts, "hr": 70}))
    rows = await installed.until_rows(
        "SELECT ts_sent, time_quality, ts = received_at FROM vitals ORDER BY ts_sent",
        lambda rows: len(rows) == 2,
    )
    assert rows == [(0, 4, True), (ahead, 3, True)]


@pytest.mark.parametrize("policy", ["register", "dead_letter"])
async def test_an_sos_from_an_unknown_device_is_an_alarm_under_either_policy(
    installed: Installation, policy: str
) -> None:
    """Strangers are registered or dead-lettered, as set; who calls for help is an alarm in both cases."""
    await installed.kill()
    text = installed.config.read_text().replace(
        'unknown_devices = "register"', f'unknown_devices = "{policy}"'
    )
    installed.config.write_text(text)
    await installed.start()
    with Client(installed.broker.town_url) as device:
        device.publish("carebell/v1/430602/NEW-1/sos")
        device.publish("carebell/v1/430602/NEW-2/heartbeat")
    await installed.until_rows("SELECT FROM alarms", bool)
    kept = "heartbeats" if policy == "register" else "dead_letters"
    await installed.until_rows(f"SELECT FROM {kept}", bool)
    assert await installed.rows("SELECT device, kind FROM alarms JOIN devices USING (device_id)") == [
        ("NEW-1", "sos")
    ]
    letters = await installed.rows("SELECT reason FROM dead_letters")
    assert letters == ([] if policy == "register" else [("unknown_device",)])
