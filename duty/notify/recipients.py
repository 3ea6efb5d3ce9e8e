"""Recipients of notices as notify.toml describes them: the way to each, and their secrets.

Rules of this file: a secret is given as it is, by the name of an environment variable (`..._env`) or of a
file (`..._file`), is read once, and is a SecretStr from then on: no message and no log can show it.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from schemas.settings import Port

DOWN: Final = "carebell/down/v1/"
"""Where the shipped ACL lets the desk write, and a device read what is under its name."""
LONGEST_SECRET: Final = 4096
SHORTEST_SECRET: Final = 4
"""Characters: shorter parts are words."""
_SECRETS: Final = ("url", "secret", "password")
_NAME: Final = r"^[\w-]{1,40}$"
_MAIL: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*")
_IS_URL: Final = re.compile(r"https?://")
_PARTS: Final = re.compile(r"[/?&=]")
_HOST: Final = r"^[A-Za-z0-9._-]{1,253}$|^[0-9A-Fa-f:]{2,45}$"
_TOPIC: Final = re.compile(
    re.escape(DOWN) + r"(?:[\w-]+|\{region\}|\{device\})(?:/(?:[\w-]+|\{region\}|\{device\}))*"
)

Name = Annotated[str, Field(pattern=_NAME)]
"""Of a recipient, a period, a rota: it stands in logs and on the card."""


def _url(given: SecretStr) -> SecretStr:
    """Return a URL that can be asked; raises ValueError without its words, for they may be a secret."""
    url = given.get_secret_value()
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("its host or port cannot be read") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
        raise ValueError("a URL is http(s)://host/path, without login")
    if not url.isascii() or not url.isprintable() or " " in url or parts.fragment:
        raise ValueError("a URL is plain ASCII, without blanks and without #")
    return given


def _mail(given: str) -> str:
    if not _MAIL.fullmatch(given):
        raise ValueError("a mail address is name@host, and nothing else")
    return given


def _topic(given: str) -> str:
    if len(given) > 200 or not _TOPIC.fullmatch(given):  # noqa: PLR2004 - far above any that is used
        raise ValueError(f"a topic begins with {DOWN}; its levels are names, {{region}} or {{device}}")
    return given


def as_list(given: object) -> object:
    """Return a name that stands alone as a list of one."""
    return [given] if isinstance(given, str) else given


Url = Annotated[SecretStr, AfterValidator(_url)]
Mail = Annotated[str, AfterValidator(_mail)]


class _Recipient(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    personal: bool = False
    drills: bool = True

    @model_validator(mode="before")
    @classmethod
    def _read_secrets(cls, given: Any) -> Any:  # noqa: ANN401 - what a file holds
        """Put each secret in the place of the name of its variable or file."""
        if not isinstance(given, dict):
            return given
        values = dict(given)
        for name in _SECRETS:
            ways = [way for way in (name, f"{name}_env", f"{name}_file") if way in values]
            if len(ways) > 1:
                raise ValueError(f"{' and '.join(ways)} are both given: one is enough")
            if ways and ways[0] != name:
                values[name] = _read(ways[0], values.pop(ways[0]))
        return values

    def secrets(self) -> list[str]:
        """Return what must not be told of it."""
        found = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        for url in filter(_IS_URL.match, list(found)):  # who echoes one may echo a part of it
            found += _PARTS.split(url)[3:]
        return sorted((part for part in found if len(part) >= SHORTEST_SECRET), key=len, reverse=True)


def _read(way: str, name: object) -> str:
    """Return a secret out of the environment or a file; raises ValueError."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"{way} is a name")
    if "://" in name or (way.endswith("_env") and not name.isidentifier()):
        raise ValueError(f"{way} names where the secret stands, and is not the secret itself")
    if way.endswith("_env"):
        found = os.environ.get(name, "")
    else:
        try:
            with Path(name).open(encoding="utf-8") as file:
                found = file.read(LONGEST_SECRET + 1).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{way} = {name}: cannot be read: {type(error).__name__}") from None
    if not 1 <= len(found) <= LONGEST_SECRET:
        raise ValueError(f"{way} = {name}: it is empty, or longer than {LONGEST_SECRET} characters")
    return found


class Webhook(_Recipient):
    """JSON of ours, POSTed."""

    channel: Literal["webhook"]
    url: Url


class Alertmanager(_Recipient):
    """JSON as Prometheus' Alertmanager sends it to its webhooks."""

    channel: Literal["alertmanager"]
    url: Url


class DingTalk(_Recipient):
    """A robot of a DingTalk group; with `secret` its messages are signed."""

    channel: Literal["dingtalk"]
    url: Url
    secret: SecretStr = SecretStr("")


class WeCom(_Recipient):
    """A robot of a WeCom group; the key in its URL is its secret."""

    channel: Literal["wecom"]
    url: Url


class City(_Recipient):
    """A platform of a city (12349): JSON of ours with a signature. It hears of no drill unless told so."""

    channel: Literal["city"]
    url: Url
    secret: Annotated[SecretStr, Field(min_length=16)]
    drills: bool = False


class Mailbox(_Recipient):
    """Mail by SMTP."""

    channel: Literal["smtp"]
    host: Annotated[str, Field(pattern=_HOST)]
    port: Port = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    username: Annotated[str, Field(max_length=200, pattern=r"^[ -~]*$")] = ""
    password: SecretStr = SecretStr("")
    sender: Annotated[Mail, Field(alias="from")]
    to: Annotated[tuple[Mail, ...], BeforeValidator(as_list), Field(min_length=1, max_length=50)]

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if self.tls == "none" and self.password.get_secret_value():
            raise ValueError('a password is not sent with tls = "none"')
        if self.username and not self.password.get_secret_value():
            raise ValueError("username without password")
        return self


class Topic(_Recipient):
    """A topic of the broker of carebell.toml, as of a bell or a lamp in the duty room."""

    channel: Literal["mqtt"]
    topic: Annotated[str, AfterValidator(_topic)]


Recipient = Annotated[
    Webhook | Alertmanager | DingTalk | WeCom | City | Mailbox | Topic, Field(discriminator="channel")
]
