"""The embedded parts: a broker and a database that run for as long as a `with` block.

`carebell demo` and the tests stand on them. The rules of this package:
- a part listens on 127.0.0.1 only and asks for a password;
- as root it runs as `nobody`: no account is made, and no directory but our own changes hands. So `data_dir`
  must not lie below a directory that only root may enter; `scratch_dir` makes a good one;
- a part never outlives us, not even when we are killed with -9;
- the same `data_dir` again is the same broker or database, with its data, on another port.
"""

from ops.parts.brokers import (
    BRIDGE,
    TOWN,
    Broker,
    best_broker,
    find_mosquitto,
    iotcore_broker,
    mosquitto_broker,
)
from ops.parts.common import free_port, scratch_dir
from ops.parts.databases import Database, embedded_database, postgres_server
from ops.parts.process import PartError

__all__ = [
    "BRIDGE",
    "TOWN",
    "Broker",
    "Database",
    "PartError",
    "best_broker",
    "embedded_database",
    "find_mosquitto",
    "free_port",
    "iotcore_broker",
    "mosquitto_broker",
    "postgres_server",
    "scratch_dir",
]
