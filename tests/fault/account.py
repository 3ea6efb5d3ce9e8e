"""The account after a fault, by key: accepted = stored + dead letters, nothing double, every alarm true.

`settle` first lets all of it arrive: a last message on each lane goes through everything that came before it.
"""

import json
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx

from schemas.topics import parse
from tests.fault.traffic import Key, Published, say
from tests.installation import Installation, until

WAIT = 60.0
"""Seconds after which what has not arrived is lost."""
STORED = """
SELECT device, seq FROM (
    SELECT device_id, seq FROM vitals UNION ALL
    SELECT device_id, seq FROM heartbeats UNION ALL
    SELECT device_id, seq FROM activity UNION ALL
    SELECT device_id, seq FROM events
) AS rows JOIN devices USING (device_id)
"""
CALLS = """
SELECT device, kind, count FROM alarms JOIN devices USING (device_id)
WHERE closed_at IS NULL AND device NOT LIKE '?%%'
"""
MANY = 6
"""Calls a day from which on the shipped rules suspect the button."""
LANES = {"heartbeat": {}, "event": {"kind": "check_in"}}
"""A channel of each lane, with what is said on it that raises no alarm."""


@dataclass
class Account:
    """What is wrong; nothing is, if it is empty."""

    lost: set[Key] = field(default_factory=set)
    double: set[Key] = field(default_factory=set)
    invented: set[Key] = field(default_factory=set)
    alarms: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    def sentences(self) -> list[str]:
        """Say what is wrong, in words for people."""
        keys = {"lost": self.lost, "double": self.double, "not sent by anybody": self.invented}
        counted = [
            f"{len(found)} {what}: {', '.join(map(str, sorted(found)[:5]))}"
            for what, found in keys.items()
            if found
        ]
        return [*counted, *self.alarms, *self.others]


async def account(installed: Installation, published: Published) -> Account:
    """Let everything arrive, then compare what was published with what the database holds."""
    await installed.reconnect()
    late = await settle(installed, published)
    found = Counter(await stored(installed)) + Counter(await buried(installed))
    difference = await metric(installed, "carebell_identity_difference")
    return Account(
        lost=published.accepted - set(found),
        double={key for key, count in found.items() if count > 1},
        invented=set(found) - published.sent,
        alarms=await _alarms(installed, published, Counter(device for device, _ in found)),
        others=late + [f"the identity is off by {difference:g}"] * bool(difference),
    )


async def settle(installed: Installation, published: Published) -> list[str]:
    """Send a last message down each lane and wait for both; say which did not come."""
    late = []
    for channel, fields in LANES.items():
        last = ("LAST-1", time.time_ns() // 1000)
        published.sent.add(last)
        if await say(installed.town, last[0], channel, last[1], **fields):
            published.accepted.add(last)

        async def arrived(last: Key = last) -> bool:
            return bool(await installed.rows(f"SELECT FROM ({STORED}) AS s WHERE seq = %s", last[1]))

        if not await until(arrived, bool, WAIT):
            late.append(f"the last {channel} did not arrive within {WAIT:g} s")
    return late


async def stored(installed: Installation) -> list[Key]:
    """Return the key of every row of the history."""
    return [(device, seq) for device, seq in await installed.rows(STORED)]


async def buried(installed: Installation) -> list[Key]:
    """Return the key of every message that is a dead letter whole."""
    letters = await installed.rows("SELECT topic, payload FROM dead_letters WHERE whole")
    return [(parse(topic).device, json.loads(payload)["seq"]) for topic, payload in letters]


async def metric(installed: Installation, name: str) -> float:
    """Return the sum of a metric of the running bridge over its labels."""
    page = installed.settings.metrics
    async with httpx.AsyncClient(timeout=5) as client:
        text = (await client.get(f"http://{page.host}:{page.port}/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    assert lines, f"the bridge has no metric {name}"
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def _alarms(installed: Installation, published: Published, arrived: Counter[str]) -> list[str]:
    """Compare the open alarms with the calls: one for each caller, which counts each call once.

    Whoever calls again and again may have a button that is broken, and is told so beside.
    """
    rows = [
        row for row in await installed.rows(CALLS) if row[1] != "suspect_device" or arrived[row[0]] < MANY
    ]
    wrong = [f"{kind} of {device}, whom nothing ails" for device, kind, _ in rows if kind != "sos"]
    counts = {device: count for device, kind, count in rows if kind == "sos"}
    for device in published.called | counts:
        calls, counted = arrived[device], counts.get(device, 0)
        if calls != counted:
            wrong.append(f"{device}: {calls} calls arrived, its alarm counts {counted}")
    return wrong
