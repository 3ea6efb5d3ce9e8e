"""Mail by SMTP, with the standard library's client in a thread of its own.

Rules of this file: what stands in a header was bounded and stripped of line ends before; a server that hangs
or dribbles is hung up on from outside, for its thread cannot be stopped.
"""

import asyncio
import contextlib
import smtplib
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import Executor
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import partial
from typing import Final

from duty.notify import words
from duty.notify.answers import TAKEN, Answer, safe
from duty.notify.hooks import key_of
from duty.notify.notices import Notice
from duty.notify.recipients import Mailbox

REMEMBERED: Final = 10_000
"""Notices that some addresses took and others did not: so many are known, and sent to the others alone."""
_PERMANENT: Final = 500
"""From this reply on a server will say so again."""


class Mail:
    """The way to one or several mailboxes."""

    most = 50

    def __init__(self, recipient: Mailbox, threads: Executor, desk_url: str, timeout: float) -> None:
        """`timeout` in seconds is for each word of the server's."""
        self._recipient = recipient
        self._threads = threads
        self._desk_url = desk_url
        self._timeout = timeout
        self._took: dict[str, set[str]] = {}
        """By key of a notice that is not sent to all: which addresses have it."""

    async def send(self, notices: Sequence[Notice]) -> Answer:
        """Send to each address what it does not have yet, and say what came of it; cancelled, it hangs up."""
        untold: dict[tuple[Notice, ...], list[str]] = {}
        for address in self._recipient.to:
            missing = tuple(each for each in notices if address not in self._took.get(each.key, ()))
            untold.setdefault(missing, []).append(address)
        untold.pop((), None)
        answers = [await self._send(missing, addresses) for missing, addresses in untold.items()]
        if refusal := next((answer for answer in answers if not answer.is_sent), None):
            return refusal
        for notice in notices:
            self._took.pop(notice.key, None)
        return TAKEN

    async def _send(self, notices: Sequence[Notice], addresses: list[str]) -> Answer:
        line = _Line(self._recipient, self._timeout)
        message = compose(self._recipient, notices, self._desk_url)
        refused = {}
        try:
            deliver = partial(line.deliver, message, addresses)
            refused = await asyncio.get_running_loop().run_in_executor(self._threads, deliver)
        except smtplib.SMTPRecipientsRefused as error:
            refused = error.recipients
        except smtplib.SMTPResponseException as error:
            said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else ""
            return Answer(self._safe(f"SMTP {error.smtp_code}: {said}"), error.smtp_code >= _PERMANENT)
        except (smtplib.SMTPException, OSError, ValueError) as error:  # ValueError: a line over the limit
            return Answer(self._safe(f"{type(error).__name__}: {error}"))
        finally:
            line.hang_up()
        if not refused:
            self._remember(notices, addresses)
            return TAKEN
        self._remember(notices, [address for address in addresses if address not in refused])
        codes = [code for code, _ in refused.values()]
        return Answer(f"SMTP {codes[0]}: not every address takes it", min(codes) >= _PERMANENT)

    def _remember(self, notices: Sequence[Notice], addresses: list[str]) -> None:
        for notice in notices:
            self._took.setdefault(notice.key, set()).update(addresses)
        while len(self._took) > REMEMBERED:
            del self._took[next(iter(self._took))]

    def _safe(self, said: str) -> str:
        return safe(said, self._recipient.secrets())


class _Line:
    """One connection, which any thread may hang up."""

    def __init__(self, recipient: Mailbox, timeout: float) -> None:
        self._recipient = recipient
        self._timeout = timeout
        self._end: socket.socket | None = None
        """The same connection once more: whatever TLS makes of the first one, this one can end it."""
        self._over = False

    def deliver(self, message: EmailMessage, addresses: list[str]) -> dict[str, tuple[int, bytes]]:
        """Bring a message to the server, over TLS unless the file says otherwise; return who refused it.

        Raises smtplib.SMTPException, OSError or ValueError if nobody has it.
        """
        box = self._recipient
        line = socket.create_connection((box.host, box.port), self._timeout)
        self._end = line.dup()
        if self._over:
            line.close()
            raise TimeoutError("hung up")
        secure = ssl.create_default_context()
        if box.tls == "tls":
            line = secure.wrap_socket(line, server_hostname=box.host)
        with _Client(line, box.host, self._timeout) as client:
            if box.tls == "starttls":
                client.starttls(context=secure)
            if box.username:
                client.login(box.username, box.password.get_secret_value())
            return client.send_message(message, from_addr=box.sender, to_addrs=addresses)

    def hang_up(self) -> None:
        """End it, whatever it waits for."""
        self._over = True
        if self._end:
            with contextlib.suppress(OSError):
                self._end.shutdown(socket.SHUT_RDWR)
            self._end.close()


class _Client(smtplib.SMTP):
    """The library's client on a connection that we made."""

    def __init__(self, line: socket.socket, host: str, timeout: float) -> None:
        self._line = line
        super().__init__(host, timeout=timeout, local_hostname="carebell")

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        del host, port, timeout
        return self._line


def compose(recipient: Mailbox, notices: Sequence[Notice], desk_url: str) -> EmailMessage:
    """Return the mail; its Message-ID is the key, so that servers too can tell a repetition."""
    message = EmailMessage(policy=SMTP)
    first = words.title(notices[0])
    message["Subject"] = first if len(notices) == 1 else f"{first} 等 {len(notices)} 条"
    message["From"] = recipient.sender
    message["To"] = ", ".join(recipient.to)
    message["Date"] = format_datetime(notices[0].created_at)
    message["Message-ID"] = f"<{key_of(notices)}@{recipient.sender.partition('@')[2]}>"
    message["Idempotency-Key"] = key_of(notices)
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(words.text(notices, desk_url), cte="base64")
    return message
