"""HTTP: webhooks of ours, of Alertmanager's shape and of cities, and the robots of DingTalk and WeCom.

Rules of this file: redirects are not followed, for a secret would go with them; of an answer so much is read
as tells whether it was taken; a URL is never in a log.
"""

import base64
import hashlib
import hmac
import json
import logging
import ssl
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

import httpx

from duty.notify import words
from duty.notify.answers import TAKEN, Answer, safe
from duty.notify.notices import Notice
from duty.notify.recipients import Alertmanager, City, DingTalk, Webhook, WeCom

logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs each URL, and a robot's URL is its key

LONGEST_ANSWER: Final = 65_536
"""Bytes of an answer that are read."""
MOST_TEXT: Final = 2048
"""Bytes of a robot's message: WeCom takes no more."""
MOST_WAIT: Final = 3600.0
"""Seconds for which a receiver may ask to be left alone."""
BUSY_WAIT: Final = 60.0
"""Seconds for which a robot is left alone that got too many messages: it counts them by the minute."""
_LATER: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_BUSY: Final = frozenset({-1, 45009, 130101, 410100})
"""What robots answer to too many messages, or when they are busy themselves; anything else is a refusal."""

Headers = Mapping[str, str]
HttpRecipient = Webhook | Alertmanager | DingTalk | WeCom | City


def make_client() -> httpx.AsyncClient:
    """Return a client for all of them: no redirects, no compressed answers, no proxies of the environment.

    Certificates are checked against the system's authorities, as everywhere in carebell.
    """
    return httpx.AsyncClient(
        follow_redirects=False,
        trust_env=False,
        verify=ssl.create_default_context(),
        timeout=httpx.Timeout(10.0),
        limits=httpx.Limits(max_connections=None, keepalive_expiry=30.0),  # who hangs takes nobody's place
        headers={"User-Agent": "carebell", "Accept-Encoding": "identity"},
    )


class Hook:
    """The way to one recipient."""

    def __init__(self, client: httpx.AsyncClient, recipient: HttpRecipient, name: str, desk_url: str) -> None:
        """`name` is the recipient's in notify.toml; `desk_url` where alarms can be looked at."""
        self._client = client
        self._recipient = recipient
        self._name = name
        self._desk_url = desk_url
        self.most = 50 if isinstance(recipient, DingTalk | WeCom) else 1
        """Notices in one message: people read one of many, programs one each."""

    async def send(self, notices: Sequence[Notice]) -> Answer:
        """Send, and say what came of it."""
        url, content, headers = self._request(notices)
        headers = {"Content-Type": "application/json", "Idempotency-Key": key_of(notices), **headers}
        try:
            async with self._client.stream("POST", url, content=content, headers=headers) as answer:
                said = await _read(answer)
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
            return Answer(self._safe(f"{type(error).__name__}: {error}"))
        return self._judge(answer, said)

    def _request(self, notices: Sequence[Notice]) -> tuple[str, bytes, Headers]:
        recipient, url = self._recipient, self._recipient.url.get_secret_value()
        match recipient:
            case City():
                content = _json(words.body(notices[0], self._desk_url))
                return url, content, sign_city(recipient.secret.get_secret_value(), time.time(), content)
            case DingTalk():
                url = sign_dingtalk(url, recipient.secret.get_secret_value(), time.time())
                return url, _json({**self._message(notices), "at": {"isAtAll": False}}), {}
            case WeCom():
                return url, _json(self._message(notices)), {}
            case Alertmanager():
                return url, _json(alertmanager(self._name, notices, self._desk_url)), {}
            case Webhook():
                return url, _json(words.body(notices[0], self._desk_url)), {}

    def _message(self, notices: Sequence[Notice]) -> dict[str, Any]:
        """Return what a robot says: as text, in which nothing is markup."""
        content = words.cut(words.text(notices, self._desk_url), MOST_TEXT)
        return {"msgtype": "text", "text": {"content": content}}

    def _judge(self, answer: httpx.Response, said: bytes) -> Answer:
        if not answer.is_success:
            later = answer.is_server_error or answer.status_code in _LATER
            return Answer(
                f"HTTP {answer.status_code}", not later, _wait(answer.headers.get("retry-after", ""))
            )
        if not isinstance(self._recipient, DingTalk | WeCom):
            return TAKEN
        code, reason = _robot(said)
        if code == 0:
            return TAKEN
        busy = code in _BUSY
        refused = code is not None and not busy
        return Answer(self._safe(f"errcode {code}: {reason}"), refused, BUSY_WAIT if busy else 0.0)

    def _safe(self, said: str) -> str:
        return safe(said, self._recipient.secrets())


def key_of(notices: Sequence[Notice]) -> str:
    """Return the idempotency key of a message: of a notice alone its own."""
    keys = " ".join(each.key for each in notices)
    return keys if len(notices) == 1 else f"carebell-{hashlib.sha256(keys.encode()).hexdigest()}"


def sign_dingtalk(url: str, secret: str, now: float) -> str:
    """Return a robot's URL with the time and its signature, as DingTalk wants it; without secret as it is."""
    if not secret:
        return url
    stamp = str(round(now * 1000))
    digest = hmac.digest(secret.encode(), f"{stamp}\n{secret}".encode(), "sha256")
    query = urlencode({"timestamp": stamp, "sign": base64.b64encode(digest).decode()})
    return f"{url}{'&' if '?' in url else '?'}{query}"


def sign_city(secret: str, now: float, content: bytes) -> dict[str, str]:
    """Return headers that prove a body: HMAC-SHA256 over the time, in ms since 1970, and the body, in hex."""
    stamp = str(round(now * 1000))
    digest = hmac.digest(secret.encode(), stamp.encode() + content, "sha256")
    return {"X-Carebell-Timestamp": stamp, "X-Carebell-Signature": digest.hex()}


def alertmanager(receiver: str, notices: Sequence[Notice], desk_url: str) -> dict[str, Any]:
    """Return notices as version 4 of Alertmanager's webhooks has them."""
    alerts = [_alert(each, desk_url) for each in notices]
    firing = any(alert["status"] == "firing" for alert in alerts)
    first = alerts[0]
    return {
        "version": "4",
        "groupKey": f'{{}}:{{alarm_id="{notices[0].alarm_id}"}}',
        "truncatedAlerts": 0,
        "status": "firing" if firing else "resolved",
        "receiver": receiver,
        "groupLabels": {"alarm_id": str(notices[0].alarm_id)},
        "commonLabels": first["labels"] if len(alerts) == 1 else {},
        "commonAnnotations": first["annotations"] if len(alerts) == 1 else {},
        "externalURL": desk_url,
        "alerts": alerts,
    }


def _alert(notice: Notice, desk_url: str) -> dict[str, Any]:
    labels = {
        "alertname": notice.kind,
        "alarm_id": str(notice.alarm_id),
        "class": str(notice.alarm_class),
        "severity": str(notice.severity),
        "region": notice.region,
        "device": words.plain(notice.device),
    }
    known = json.dumps(labels, sort_keys=True, ensure_ascii=False).encode()
    said = words.body(notice, desk_url)
    return {
        "status": "resolved" if notice.closed_at else "firing",
        "labels": labels,
        "annotations": {
            "summary": words.title(notice),
            "description": said["text"],
            "key": notice.key,
            "step": str(notice.step),
            **{name: said[name] for name in ("person", "address") if name in said},
        },
        "startsAt": said["raised_at"],
        "endsAt": said["closed_at"] or "0001-01-01T00:00:00Z",
        "generatorURL": said["url"],
        "fingerprint": hashlib.sha256(known).hexdigest()[:16],
    }


def _json(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode()


async def _read(answer: httpx.Response) -> bytes:
    """Return the beginning of an answer, as it came over the wire."""
    found = b""
    async for part in answer.aiter_raw():
        found += part
        if len(found) > LONGEST_ANSWER:
            break
    return found[:LONGEST_ANSWER]


def _robot(said: bytes) -> tuple[int | None, str]:
    """Return code and words of a robot's answer; no code if it is none."""
    try:
        found = json.loads(said)
        return int(found["errcode"]), str(found.get("errmsg", ""))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None, "the answer is not a robot's"


def _wait(said: str) -> float:
    return min(float(said), MOST_WAIT) if said.isascii() and said.isdecimal() and len(said) < 10 else 0.0  # noqa: PLR2004 - seconds
