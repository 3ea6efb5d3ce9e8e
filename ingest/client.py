"""A client of the broker for what is said at a human rate. The lanes have sessions of their own."""

import asyncio
import ssl

import aiomqtt

from schemas.settings import BrokerSettings


def client(broker: BrokerSettings, role: str) -> aiomqtt.Client:
    """Return a client that logs in as the bridge, under a client id that ends with its role."""
    return aiomqtt.Client(
        broker.host,
        broker.port,
        username=broker.username or None,
        password=broker.secret() or None,
        identifier=f"{broker.client_id}-{role}",
        protocol=aiomqtt.ProtocolVersion.V5,
        tls_context=ssl.create_default_context(cafile=broker.ca_file or None) if broker.tls else None,
        keepalive=broker.keep_alive,
    )


def end_if_cancelled() -> None:
    """Raise a cancellation that came together with an answer: asyncio.wait_for in aiomqtt loses it."""
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError
