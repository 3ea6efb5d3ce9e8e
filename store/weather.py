"""Which database errors are weather: decided once, by SQLSTATE."""

import psycopg

_WEATHER = ("08", "40", "53", "55", "57", "58", "25006", "25P03")
"""Connection, rollback by the server, resources, locks, operator intervention, system error; read-only (a
failover), idle too long in a transaction (a process that was stopped)."""


def is_weather(error: psycopg.Error) -> bool:
    """Say whether time can help: the server is away, restarts, has no room, or asks to try again."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return error.sqlstate.startswith(_WEATHER)
