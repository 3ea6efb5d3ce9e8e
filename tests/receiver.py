"""Receivers of notices for tests: a real HTTP server and a real SMTP server that do as they are told.

Each answers request by request by a script: a status, or what a bad receiver does instead.
"""

import asyncio
import json
import ssl
from base64 import b64decode
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from tests.contract.kit import Listener, until


class Hang:
    """Read the request, and never answer."""


class Drop:
    """Read the request, and hang up instead of answering."""


class Dribble:
    """Answer a letter at a time, without end, until the other side hangs up."""


@dataclass(frozen=True)
class Late:
    """Answer when the test says so."""

    status: int
    when: asyncio.Event


@dataclass(frozen=True)
class Say:
    """Answer with a body and headers of one's own."""

    body: bytes
    status: int = 200
    headers: str = ""


Reply = int | Say | Late | type[Hang] | type[Drop]
"""What is done about a request: an HTTP status, or else."""


@dataclass(frozen=True)
class Request:
    """What was received."""

    path: str
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON is anything
        """Return the body."""
        return json.loads(self.content)

    @property
    def key(self) -> str:
        """Return the idempotency key."""
        return self.headers["idempotency-key"]


class HttpReceiver(Listener):
    """A webhook's server."""

    def __init__(self, *replies: Reply, then: Reply = 200) -> None:
        """Give these replies first."""
        super().__init__()
        self.replies = list(replies)
        self.then = then
        self.requests: list[Request] = []

    def url(self, path: str = "/hook?access_token=s3cret-of-the-robot") -> str:
        """Return where it is."""
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def keys(self) -> list[str]:
        """Return the keys so far."""
        return [each.key for each in self.requests]

    async def heard(self, count: int) -> list[Request]:
        """Wait until so many requests have come, and return them."""
        await until(lambda: len(self.requests) >= count, f"{count} requests")
        return self.requests

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read requests and reply to each."""
        while line := await reader.readline():
            method, path, _ = line.decode().split(" ")
            assert method == "POST"
            headers = {}
            while line := (await reader.readline()).strip():
                name, _, value = line.decode().partition(": ")
                headers[name.lower()] = value
            content = await reader.readexactly(int(headers["content-length"]))
            reply = self.replies.pop(0) if self.replies else self.then
            self.requests.append(Request(path, headers, content))
            if not await _reply(writer, reply):
                return


async def _reply(writer: asyncio.StreamWriter, reply: Reply) -> bool:
    """Reply, and say whether the connection goes on."""
    if reply is Drop:
        return False
    if reply is Hang:
        await asyncio.Event().wait()
    if isinstance(reply, Late):
        await reply.when.wait()
        reply = reply.status
    said = reply if isinstance(reply, Say) else Say(b'{"errcode": 0, "errmsg": "ok"}', int(str(reply)))
    head = f"HTTP/1.1 {said.status} x\r\n{said.headers}Content-Length: {len(said.body)}\r\n\r\n"
    writer.write(head.encode() + said.body)
    await writer.drain()
    return True


@dataclass(frozen=True)
class Letter:
    """A mail as it arrived: of the envelope, and its message."""

    sender: str
    to: list[str]
    message: EmailMessage
    raw: bytes


class MailReceiver(Listener):
    """An SMTP server that takes mail or answers one word of the client's as it is told."""

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        starttls: ssl.SSLContext | None = None,
        /,
        **replies: str | type[Hang] | type[Dribble],
    ) -> None:
        """Reply by verb, data="554 no", or to an address, "rcpt a@b.cn"; to others as a good server does."""
        super().__init__(tls)
        self.starttls = starttls
        self.replies = replies
        self.letters: list[Letter] = []
        self.hung_up = 0
        """Times that a client had enough of dribbling."""
        self.verbs: list[str] = []
        self.login = ""
        """User name and password that came last."""

    async def heard(self, count: int) -> list[Letter]:
        """Wait until so many letters have come, and return them."""
        await until(lambda: len(self.letters) >= count, f"{count} letters")
        return self.letters

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak SMTP."""
        talk = _Talk(self, reader, writer)
        await talk.answer("220 mail.test", "connect")
        while line := await reader.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            self.verbs.append(verb.lower())
            if not await talk.obey(verb.lower(), rest):
                return


class _Talk:
    def __init__(
        self, server: MailReceiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server, self._reader, self._writer = server, reader, writer
        self._sender, self._to = "", list[str]()

    async def answer(self, said: str, verb: str) -> None:
        found = self._server.replies.get(verb, said)
        while found is Dribble:
            self._writer.write(b"2")
            await asyncio.sleep(0.05)
            if self._writer.transport.is_closing():
                self._server.hung_up += 1
                raise ConnectionResetError
        if not isinstance(found, str):
            await asyncio.Event().wait()
        self._writer.write(f"{found}\r\n".encode())
        await self._writer.drain()

    async def obey(self, verb: str, rest: str) -> bool:
        said, whole = "250 ok", verb
        if verb == "ehlo":
            more = ["STARTTLS"] if self._may_be_secret() else []
            said = "\r\n".join(["250-mail.test", *(f"250-{each}" for each in more), "250 AUTH PLAIN"])
        elif verb == "starttls" and self._may_be_secret():
            await self.answer("220 go on", verb)
            await self._writer.start_tls(self._server.starttls or ssl.SSLContext())
            return True
        elif verb == "auth":
            self._server.login = b64decode(rest.removeprefix("PLAIN ")).decode()
            said = "235 welcome"
        elif verb == "mail":
            self._sender, self._to = rest[6:].partition(">")[0], []
        elif verb == "rcpt":
            address = rest[4:].partition(">")[0]
            whole = f"rcpt {address}" if f"rcpt {address}" in self._server.replies else verb
            if str(self._server.replies.get(whole, said)).startswith("250"):
                self._to.append(address)
        elif verb == "data" and "data" not in self._server.replies:
            await self.answer("354 go on", "go")
            await self._take()
        elif verb == "quit":
            said = "221 bye"
        await self.answer(said, whole)
        return verb != "quit"

    def _may_be_secret(self) -> bool:
        return self._server.starttls is not None and not self._writer.get_extra_info("sslcontext")

    async def _take(self) -> None:
        raw = b""
        while (line := await self._reader.readline()) not in {b".\r\n", b""}:
            raw += line.removeprefix(b".") if line.startswith(b"..") else line
        message = message_from_bytes(raw, policy=default)
        assert isinstance(message, EmailMessage)
        self._server.letters.append(Letter(self._sender, self._to, message, raw))
