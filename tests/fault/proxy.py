"""A TCP proxy that misbehaves on demand: stop, cut, reset, stall, delay, and keep the reply of a COMMIT.

It stands between the bridge and its broker or its database, with real sockets on both sides. What it does not
swallow it passes on unchanged; every fault but a cut lasts until `heal`.
"""

import asyncio
import contextlib
import socket
import struct
from typing import Self

from ops.parts import free_port
from tests.contract.kit import Cutter

_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends RST, and what was under way is thrown away."""


class Proxy(Cutter):
    """Carry bytes between whoever connects to `url` and the server of the given URL."""

    def __init__(self, url: str) -> None:
        """Listen when the block begins."""
        super().__init__(url)
        self._latency = 0.0
        self._flow = asyncio.Event()
        self._flow.set()

    async def __aenter__(self) -> Self:
        """Listen on a port that stays ours while nobody listens there."""
        self.port = free_port()
        await self._listen()
        return self

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def stop(self) -> None:
        """End all connections and refuse new ones."""
        self._server.close()
        self.cut()

    def cut(self) -> None:
        """Close all connections as a server that ends; what came before is still passed on."""
        for end in self._ends:
            end.close()
        self._ends.clear()

    def reset(self) -> None:
        """Break all connections with RST; what was under way is gone."""
        for end in self._ends:
            there = end.get_extra_info("socket")
            with contextlib.suppress(OSError):
                there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.hang_up()

    def stall(self) -> None:
        """Keep all connections open, accept new ones, and pass nothing."""
        self._flow.clear()

    def delay(self, seconds: float) -> None:
        """Let everything come so much later."""
        self._latency = seconds

    async def heal(self) -> None:
        """Be a wire again; what was held back is passed on."""
        self._latency = 0.0
        self._flow.set()
        if not self._server.is_serving():
            await self._listen()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_server: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if self._swallows(data, from_server=from_server):
                    return
                await asyncio.sleep(self._latency)
                await self._flow.wait()
                if not writer.is_closing():
                    writer.write(data)
                    await writer.drain()
        writer.close()

    def _swallows(self, data: bytes, *, from_server: bool) -> bool:
        """Hang up instead of carrying the word that was named, once."""
        word = self._to_client if from_server else self._to_server
        if word is None or word not in data:
            return False
        self._to_client = self._to_server = None
        self.cuts += 1
        self.hang_up()
        return True
