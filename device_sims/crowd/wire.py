"""One device's connection to the broker on a socket that never blocks, and what it says and hears there.

Whoever owns the epoll calls `advance` when the socket can be written and `read` when it can be read. Both
raise OSError with the reason when the connection has died.
"""

import errno
import os
import select
import socket
import ssl
from typing import Any, Final, NamedTuple, Self

import mqtt5

from schemas.errors import UsageError, WeatherError
from schemas.settings import BrokerSettings

REPLY_TIMEOUT: Final = 10.0
_PUBACK: Final = 0x40
_AFTER_HEAD: Final = (2, 3, 4)
"""Bytes of a packet id, of that and a reason, and of these and the length of no properties."""
_BARE: Final = 4
_READ: Final = 65_536
_LONGEST_PACKET: Final = 65_536
_NOT_NOW: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Puback = tuple[int, int, int, float]
"""Which device heard it, for which packet id, with which reason, and when."""


class Place(NamedTuple):
    """Where the broker is: that one of the addresses of its name at which it answers."""

    host: str
    family: int
    address: Any
    tls: ssl.SSLContext | None

    @classmethod
    def of(cls, broker: BrokerSettings) -> Self:
        """Find it; raises WeatherError if it does not answer, UsageError as `trust` does."""
        tls = trust(broker)
        try:
            with socket.create_connection((broker.host, broker.port), timeout=REPLY_TIMEOUT) as found:
                return cls(broker.host, found.family, found.getpeername(), tls)
        except OSError as error:
            raise WeatherError(f"no broker at {broker.host}:{broker.port}: {error}") from error


def trust(broker: BrokerSettings) -> ssl.SSLContext | None:
    """Return whom to trust, None without TLS; raises UsageError if `broker.ca_file` is unusable."""
    if not broker.tls:
        return None
    try:
        return ssl.create_default_context(cafile=broker.ca_file or None)
    except OSError as error:
        raise UsageError(f"broker.ca_file = {broker.ca_file!r} cannot be used: {error}") from error


class Wire:
    """The connection of `device` on a socket of number `file`; `is_open` once CONNECT could be said."""

    __slots__ = ("_hello", "_place", "_rest", "_socket", "_unsent", "device", "file", "is_open")

    def __init__(self, device: int, place: Place, hello: bytes) -> None:
        """Begin to connect, to say `hello` as soon as that is done; raises OSError if it cannot be begun."""
        self.device = device
        self.is_open = False
        self._place, self._hello = place, hello
        self._rest = self._unsent = b""
        self._socket = socket.socket(place.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.file = self._socket.fileno()
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _raise(self._socket.connect_ex(place.address), errno.EINPROGRESS)
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        """Close at once, without a word."""
        self._socket.close()

    def advance(self) -> int:
        """Go on connecting, or sending what the socket did not take; return the epoll events to wait for."""
        if not self.is_open:
            if waits_for := self._connect():
                return waits_for
            self.is_open, self._unsent = True, self._hello
        rest, self._unsent = self._unsent, b""
        return select.EPOLLIN | (select.EPOLLOUT if rest and self.send(rest) else 0)

    def send(self, data: bytes | memoryview) -> bool:
        """Send, or keep what the socket does not take: then it is true that `advance` must be called."""
        if not self._unsent:
            try:
                sent = self._socket.send(data)
            except _NOT_NOW:
                sent = 0
            if sent == len(data):
                return False
            data = data[sent:]
        self._unsent += data
        return True

    def read(self, at: float, pubacks: list[Puback]) -> list[mqtt5.Packet]:
        """Read what is there at this moment: add the PUBACKs that are short, return all other packets."""
        data = self._rest + self._received()
        used, size = 0, len(data)
        others: list[mqtt5.Packet] = []
        while size - used > 1:
            if data[used] == _PUBACK and data[used + 1] in _AFTER_HEAD:
                end = used + 2 + data[used + 1]
                if end > size:
                    break
                reason = data[used + 4] if end - used > _BARE else 0
                pubacks.append((self.device, data[used + 2] << 8 | data[used + 3], reason, at))
            else:
                end = used + _other(data, used, others)
                if end == used:
                    break
            used = end
        self._rest = data[used:]
        if len(self._rest) > _LONGEST_PACKET:
            raise ConnectionError("the broker sent a packet that is too long")
        return others

    def _connect(self) -> int:
        """Return the epoll events to wait for, 0 once the connection stands."""
        _raise(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        if self._place.tls is None:
            return 0
        if not isinstance(self._socket, ssl.SSLSocket):
            self._socket = self._place.tls.wrap_socket(
                self._socket, server_hostname=self._place.host, do_handshake_on_connect=False
            )
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            return select.EPOLLIN
        except ssl.SSLWantWriteError:
            return select.EPOLLOUT
        return 0

    def _received(self) -> bytes:
        try:
            data = self._socket.recv(_READ)
            while isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
                data += self._socket.recv(_READ)  # epoll does not know of it
        except _NOT_NOW:
            return b""
        if not data:
            raise ConnectionError("the broker closed the connection")
        return data


def _raise(code: int, *harmless: int) -> None:
    if code not in {0, *harmless}:
        raise OSError(code, os.strerror(code))


def _other(data: bytes, used: int, others: list[mqtt5.Packet]) -> int:
    """Add the packet that begins at `used`, and return its length; 0: it is not whole yet."""
    try:
        packet, length = mqtt5.read(memoryview(data)[used:])
    except IndexError:
        return 0
    except BaseException as error:  # the codec panics on text that is not UTF-8
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise ConnectionError("the broker sent a malformed packet") from error
    others.append(packet)
    return length
