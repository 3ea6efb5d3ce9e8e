"""Mail over a real line: encrypted, and to each address once."""

import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from duty.notify.mail import Mail
from duty.notify.recipients import Mailbox
from tests.authority import Authority
from tests.receiver import MailReceiver
from tests.unit.test_ladders import notice


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Give threads for mail."""
    with ThreadPoolExecutor(1) as found:
        yield found


@pytest.fixture
def trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    """Give an authority that this machine trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", authority.certificate)
    return authority


def secure(authority: Authority, name: str = "DNS:localhost") -> ssl.SSLContext:
    """Return what a server needs to be trusted under a name."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    key, certificate = authority.vouch(name)
    context.load_cert_chain(certificate, key)
    return context


def served(way: str, context: ssl.SSLContext) -> MailReceiver:
    """Return a server that encrypts at once, or when it is told to."""
    return MailReceiver(context) if way == "tls" else MailReceiver(None, context)


def mailbox(server: MailReceiver, threads: ThreadPoolExecutor, **more: Any) -> Mail:  # noqa: ANN401 - of several types
    """Return the way to a mailbox on a server."""
    values = {"channel": "smtp", "host": "localhost", "port": server.port, "from": "a@b.cn", "to": "c@d.cn"}
    return Mail(Mailbox.model_validate({**values, **more}), threads, "", 5.0)


@pytest.mark.parametrize("way", ["tls", "starttls"])
async def test_mail_goes_encrypted_with_its_login(
    way: str, trusted: Authority, threads: ThreadPoolExecutor
) -> None:
    """Both ways of TLS bring it, and the login is said after TLS began."""
    async with served(way, secure(trusted)) as server:
        mail = mailbox(server, threads, tls=way, username="carebell", password="geheim")
        assert (await mail.send([notice()])).is_sent
    assert (len(server.letters), server.login) == (1, "\0carebell\0geheim")
    assert ("starttls" in server.verbs) == (way == "starttls")
    assert way == "tls" or server.verbs.index("starttls") < server.verbs.index("auth")


@pytest.mark.parametrize("way", ["tls", "starttls"])
async def test_a_server_that_is_another_one_gets_no_mail(
    way: str, trusted: Authority, threads: ThreadPoolExecutor
) -> None:
    """A certificate for another name is refused before anything was said."""
    async with served(way, secure(trusted, "DNS:other.example")) as server:
        mail = mailbox(server, threads, tls=way, username="carebell", password="geheim")
        answer = await mail.send([notice()])
    assert "CERTIFICATE_VERIFY_FAILED" in answer.said
    assert (server.letters, server.login) == ([], "")


async def test_a_server_without_starttls_gets_no_mail(threads: ThreadPoolExecutor) -> None:
    """Nobody in between can talk us out of encryption by hiding the word."""
    async with MailReceiver() as server:
        answer = await mailbox(server, threads).send([notice()])
    assert "STARTTLS" in answer.said
    assert "mail" not in server.verbs


async def test_an_address_has_each_notice_once(threads: ThreadPoolExecutor) -> None:
    """While one of several addresses refuses, the others get only what they do not have; then it gets all."""
    first, second = notice(alarm_id=1), notice(alarm_id=2)
    async with MailReceiver(**{"rcpt bad@d.cn": "550 unknown"}) as server:
        mail = mailbox(server, threads, tls="none", to=["good@d.cn", "bad@d.cn", "fine@d.cn"])
        assert (await mail.send([first])).refused
        del server.replies["rcpt bad@d.cn"]
        server.replies["rcpt good@d.cn"] = "450 later"
        assert not (await mail.send([first, second])).is_sent
        server.replies.clear()
        assert (await mail.send([first, second])).is_sent
    told = [(letter.to, "2 条" in str(letter.message["Subject"])) for letter in server.letters]
    assert told == [
        (["good@d.cn", "fine@d.cn"], False),
        (["fine@d.cn"], False),
        (["bad@d.cn"], True),
        (["good@d.cn"], False),
    ]
