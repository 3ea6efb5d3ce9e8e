"""Serve an ASGI application until cancelled: the bridge's health and the desk both go out through here."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from schemas.errors import FatalError


class _Server(uvicorn.Server):
    """A server that leaves signals to the composition root: one process, one who decides about its end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_app(app: ASGIApp, listener: socket.socket) -> None:
    """Serve at an address that `listen` gave, until cancelled."""
    server = _Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=2,
        )
    )
    running = asyncio.ensure_future(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(running)
    finally:
        server.should_exit = True
        await running


def listen(host: str, port: int, what: str) -> socket.socket:
    """Bind a listening socket; raises FatalError that names the setting to change."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=1024
        )
    except OSError as error:
        raise FatalError(
            f"{what} cannot listen on {host}:{port}: {error.strerror or error};"
            f" set {what}.host or {what}.port, or end what is there"
        ) from error
