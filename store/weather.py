"""Which database errors are weather: decided once, by SQLSTATE."""

import psycopg

_WEATHER = ("08", "40", "53", "55", "57", "58", "25006", "25P03")
"""Connection, rollback by the server, resources, locks, operator intervention, system error; read-only (a
failover), idle too long in a transaction (a process that was stopped)."""
_CHECK_VIOLATION = "23514"


def is_weather(error: psycopg.Error) -> bool:
    """Say whether time can help: the server is away, restarts, has no room, or asks to try again."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    if error.sqlstate == _CHECK_VIOLATION:
        # no constraint is named: while the row waited for a default partition, its own one was made
        return error.diag.constraint_name is None
    return error.sqlstate.startswith(_WEATHER)
