"""The brokers: mosquitto with the configuration that we ship, or rumqttd out of a wheel."""

import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from ops.parts.common import HOST, Part, free_port, own_dir, running, write
from ops.parts.process import PartError, Process

BRIDGE = "carebell"  # the user that the bridge logs in as; the shipped ACL names it
TOWN = "town"  # the user that may speak for every device: for simulators and tests, never shipped
SHIPPED = Path(__file__).parent.parent / "mosquitto"

_EVERYTHING = "topic readwrite #\ntopic readwrite $oc/#\ntopic readwrite $sys/#\n"

# For each subscription rumqttd keeps segment size x count bytes, and drops the oldest without a word.
RUMQTTD = """\
id = 0
[router]
id = 0
max_connections = 10000
max_outgoing_packet_count = 500
max_segment_size = 16777216
max_segment_count = 16
[v5.1]
name = "carebell"
listen = "{host}:{port}"
next_connection_delay_ms = 1
[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = 4194304
max_inflight_count = 1000
dynamic_filters = true
[v5.1.connections.auth]
{users}
"""


@dataclasses.dataclass(frozen=True)
class Broker(Part):
    """A running MQTT broker, and the addresses with login for the bridge and for a whole town of devices."""

    host: str
    port: int
    url: str  # mqtt://user:password@host:port, as the bridge
    town_url: str  # the same, as a user who may publish for every device
    keeps_sessions: bool  # False: it forgets a session, and what it owes, when the client disconnects
    process: Process | None = dataclasses.field(default=None, repr=False)


@contextlib.contextmanager
def mosquitto_broker(data_dir: Path, users: Mapping[str, str] | None = None) -> Iterator[Broker]:
    """Run mosquitto with the shipped configuration, and with the bridge, the town and these users.

    `users` are names and passwords; a device logs in with its id. Raise PartError without mosquitto.
    """
    program = find_mosquitto()
    if program is None:
        raise PartError("mosquitto is not installed: apt-get install mosquitto")
    home, owner = own_dir(data_dir / "mosquitto")
    port, logins = free_port(), _logins(users)
    hashes = "".join(f"{user}:{_mosquitto_hash(password)}\n" for user, password in logins.items())
    write(home / "passwd", hashes, owner)
    write(home / "acl", f"{_shipped('carebell.acl')}\nuser {TOWN}\n{_EVERYTHING}", owner)
    write(home / "mosquitto.conf", _mosquitto_conf(home, port), owner)
    command = [program, "-c", str(home / "mosquitto.conf")]
    process = Process(command, lambda: _listens(port), home / "log", owner)
    with running(process):
        yield Broker(HOST, port, *_urls(port, logins), keeps_sessions=True, process=process)


@contextlib.contextmanager
def iotcore_broker(data_dir: Path, users: Mapping[str, str] | None = None) -> Iterator[Broker]:
    """Run rumqttd out of the iotcore wheel: MQTT 5 only, and everybody who logs in may publish as anybody.

    Whatever receive-maximum a client asks for, it is sent up to 100 messages before it must acknowledge.
    """
    home = data_dir / "rumqttd"
    home.mkdir(parents=True, exist_ok=True)
    port, logins = free_port(), _logins(users)
    lines = "\n".join(f"{json.dumps(user)} = {json.dumps(word)}" for user, word in logins.items())
    write(home / "rumqttd.toml", RUMQTTD.format(host=HOST, port=port, users=lines), None)
    # below CRITICAL, it writes a line for every packet
    options = ["--config", str(home / "rumqttd.toml"), "--log-level", "CRITICAL"]
    command = [sys.executable, "-m", "iotcore", *options]
    process = Process(command, lambda: _listens(port), home / "log")
    with running(process):
        yield Broker(HOST, port, *_urls(port, logins), keeps_sessions=False, process=process)


def best_broker(
    data_dir: Path, users: Mapping[str, str] | None = None
) -> contextlib.AbstractContextManager[Broker]:
    """Run mosquitto where it is installed, else rumqttd, which does not keep sessions."""
    return mosquitto_broker(data_dir, users) if find_mosquitto() else iotcore_broker(data_dir, users)


def find_mosquitto() -> str | None:
    """Find the mosquitto program, also where Debian puts it out of a plain user's PATH."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _logins(users: Mapping[str, str] | None) -> dict[str, str]:
    return {BRIDGE: secrets.token_hex(16), TOWN: secrets.token_hex(16), **(users or {})}


def _urls(port: int, logins: Mapping[str, str]) -> tuple[str, str]:
    """Write the addresses for the bridge and for the town."""
    bridge, town = (f"{user}:{quote(logins[user], safe='')}" for user in (BRIDGE, TOWN))
    return f"mqtt://{bridge}@{HOST}:{port}", f"mqtt://{town}@{HOST}:{port}"


def _mosquitto_hash(password: str) -> str:
    """Hash as mosquitto_passwd does: PBKDF2 with SHA-512, 101 rounds, 12 bytes of salt."""
    rounds, salt = 101, secrets.token_bytes(12)
    key = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, rounds)
    return f"$7${rounds}${base64.b64encode(salt).decode()}${base64.b64encode(key).decode()}"


def _mosquitto_conf(home: Path, port: int) -> str:
    """Put our port and files in the place of those that the shipped configuration names."""
    ours = {
        "listener": f"{port} {HOST}",
        "password_file": f"{home}/passwd",
        "acl_file": f"{home}/acl",
    }
    text = _shipped("mosquitto.conf")
    for key, value in ours.items():
        text = re.sub(rf"^{key} .*$", f"{key} {value}", text, flags=re.MULTILINE)
    return f"{text}\npersistence_location {home}/\nlog_dest stdout\n"


def _shipped(name: str) -> str:
    return (SHIPPED / name).read_text("utf-8")


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False
