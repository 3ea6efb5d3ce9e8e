"""Presses SOS buttons, one after the other, and sees when each alarm is committed: by another session's eyes.

The database tells this process of each alarm by NOTIFY, which PostgreSQL sends after the commit is durable
and visible. So what is measured is a little more than publish to commit: the way back is in it.
"""

import random
import threading
import time
from typing import Any, Final

import psycopg

from bench.child import say, task
from tests.mqtt import Client

NOTICE: Final = "bench_alarm"
LATEST: Final = 60.0
"""Seconds after the last press for which an alarm is waited for."""


def listen(database_url: str, wanted: int, seen: dict[str, float], ready: threading.Event) -> None:
    """Note when each device's alarm is told of, until all are or it takes too long."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"LISTEN {NOTICE}".encode())
        ready.set()
        heard = -1
        while heard < len(seen) < wanted:
            heard = len(seen)
            for notice in connection.notifies(timeout=LATEST, stop_after=1):
                seen.setdefault(notice.payload, time.perf_counter())


def press(broker_url: str, devices: list[str], every: float) -> dict[str, float]:
    """Press each button once, at irregular times; return when."""
    pressed = {}
    with Client(broker_url) as client:
        for device in devices:
            pressed[device] = time.perf_counter()
            client.publish(f"carebell/v1/430602/{device}/sos", "{}")
            time.sleep(every * random.uniform(0.5, 1.5))
    return pressed


def main() -> None:
    """Press and listen; say the latencies of those that were seen, in milliseconds."""
    what: dict[str, Any] = task()
    seen: dict[str, float] = {}
    ready = threading.Event()
    arguments = (what["database_url"], len(what["devices"]), seen, ready)
    listener = threading.Thread(target=listen, args=arguments, daemon=True)
    listener.start()
    ready.wait()
    say("ready")
    pressed = press(what["broker_url"], what["devices"], what["every"])
    listener.join(LATEST)
    say([round((seen[each] - at) * 1000, 2) for each, at in pressed.items() if each in seen])


if __name__ == "__main__":
    main()
