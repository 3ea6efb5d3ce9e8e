"""The proxy does to a connection what the faults say that it does."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.contract.kit import Listener
from tests.fault.proxy import Proxy

SOON = 0.2


class Echo(Listener):
    """A server that says again what it hears."""

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Echo."""
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """Give a proxy before an echo."""
    async with Echo() as echo, Proxy(f"echo://127.0.0.1:{echo.port}/") as found:
        yield found


@pytest.fixture
async def talk(proxy: Proxy) -> AsyncIterator["Talk"]:
    """Give a connection through the proxy that has been answered once."""
    talk = Talk(*await asyncio.open_connection("127.0.0.1", proxy.port))
    assert await talk.ask(b"hello") == b"hello"
    yield talk
    talk.writer.close()


class Talk:
    """A client's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, word: bytes, wait: float = 10.0) -> bytes:
        """Say a word and return what comes."""
        self.writer.write(word)
        return await asyncio.wait_for(self.reader.read(1000), wait)


async def test_a_stall_keeps_everything(proxy: Proxy, talk: Talk) -> None:
    """Nothing passes and nothing is closed; healed, what was said comes."""
    proxy.stall()
    with pytest.raises(TimeoutError):
        await talk.ask(b"are you there?", SOON)
    late = Talk(*await asyncio.open_connection("127.0.0.1", proxy.port))
    with pytest.raises(TimeoutError):
        await late.ask(b"and you?", SOON)
    await proxy.heal()
    assert await talk.reader.read(1000) == b"are you there?"
    assert await late.reader.read(1000) == b"and you?"
    late.writer.close()


async def test_a_delay_is_waited_out(proxy: Proxy, talk: Talk) -> None:
    """What is said comes later, and whole."""
    proxy.delay(SOON)
    began = asyncio.get_running_loop().time()
    assert await talk.ask(b"slowly") == b"slowly"
    assert asyncio.get_running_loop().time() - began >= 2 * SOON


async def test_a_cut_is_an_end_and_not_an_error(proxy: Proxy, talk: Talk) -> None:
    """The connection is closed, and the next one works."""
    proxy.cut()
    assert await talk.reader.read() == b""
    again = Talk(*await asyncio.open_connection("127.0.0.1", proxy.port))
    assert await again.ask(b"again") == b"again"
    again.writer.close()


async def test_a_reset_is_an_error(proxy: Proxy, talk: Talk) -> None:
    """The connection breaks with RST."""
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        await talk.reader.read()


async def test_a_stop_refuses_until_it_is_healed(proxy: Proxy, talk: Talk) -> None:
    """The connection ends, new ones are refused, and the same port answers again."""
    proxy.stop()
    assert await talk.reader.read() == b""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", proxy.port)
    await proxy.heal()
    again = Talk(*await asyncio.open_connection("127.0.0.1", proxy.port))
    assert await again.ask(b"again") == b"again"
    again.writer.close()


async def test_a_reply_is_swallowed_once(proxy: Proxy, talk: Talk) -> None:
    """The word that was named never arrives, and the connection ends."""
    proxy.cut_reply()
    with pytest.raises((ConnectionResetError, AssertionError)):
        assert await talk.ask(Proxy.REPLY_TO_COMMIT)
    assert proxy.cuts == 1
