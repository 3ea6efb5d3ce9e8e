"""The doctor's look at what stands on this machine: settings, secrets, rules, and the bridge that runs."""

import stat
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg

from ops.common import connected
from ops.doctor.finding import Finding, State, fault, judge
from rules import ruleset
from schemas.errors import CarebellError, UsageError
from schemas.settings import Settings
from schemas.sources import mapping
from store import users


def check_settings(settings: Settings) -> Iterator[Finding]:
    """Look at what may be set so and should not be where real people depend on it."""
    broker, clock = settings.broker, settings.clock.clock()
    part = "settings"
    login = "set broker.username and broker.password_file"
    yield judge(part, "broker login", broker.username or "none", bool(broker.username), login)
    if broker.password_file:
        yield _secret_file("broker.password_file", Path(broker.password_file))
    elif broker.password:
        advice = "put it into a file of its own and name that in broker.password_file"
        yield fault(part, "broker password", "in the configuration", advice, otherwise=State.WARNING)
    kind = "real time" if clock.is_real else "injected time"
    yield judge(part, "clock", kind, clock.is_real, "remove [clock]: only demo, sim and tests may set it")


async def check_tokens(settings: Settings) -> Finding:
    """Count the keys that open the desk, in the settings and of users, and say if users' are about to end."""
    part, check, tokens = "settings", "desk tokens", len(settings.duty.tokens)
    try:
        async with connected(settings) as connection:
            counted = await users.count(connection)
    except (CarebellError, psycopg.Error):
        counted = users.NOBODY  # another line says what is wrong with the database
    found = f"{tokens} in the settings, {counted.tokens} of users"
    if not tokens + counted.tokens:
        return fault(
            part, check, found, "`carebell user add` and `carebell user token` make one for each user"
        )
    advice = f"{counted.ending} end within a week: `carebell user list`, then `carebell user token NAME`"
    return judge(part, check, found, not counted.ending, advice, otherwise=State.WARNING)


def _secret_file(key: str, path: Path) -> Finding:
    try:
        path.read_bytes()
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as error:
        return fault("settings", key, f"{path}: {error.strerror}", "let carebell's user read it")
    # a container's secrets are open inside it, where nobody else is
    closed = not mode & stat.S_IROTH or path.is_relative_to("/run/secrets")
    advice = f"everybody on this machine may read it: chmod 640 {path}"
    return judge("settings", key, f"{path}, mode {mode:o}", closed, advice, otherwise=State.WARNING)


def check_rules(settings: Settings) -> Iterator[Finding]:
    """Read the rule file with which a bridge starts where no other was applied."""
    path = Path(settings.ingest.rules) if settings.ingest.rules else ruleset.SHIPPED
    try:
        rules = ruleset.load(path)
    except UsageError as error:
        yield fault("rules", "file", path.name, str(error))
        return
    kinds = sorted({rule.kind for rule in rules.rules})
    yield judge("rules", "file", f"{path.name}: {', '.join(kinds)}")
    is_watched = "device_silent" in kinds
    found = "a silent device is an alarm" if is_watched else "no rule has machine = 'silence'"
    advice = "nobody will notice a device that falls silent: add such a rule"
    yield judge("rules", "silence", found, is_watched, advice, otherwise=State.WARNING)


def check_sources(settings: Settings) -> Iterator[Finding]:
    """Read the mappings of vendors' devices; none is right where there are none."""
    if not settings.ingest.sources:
        return
    try:
        found = mapping.load(mapping.texts(settings.ingest.sources))
    except UsageError as error:
        yield fault("sources", "files", ", ".join(settings.ingest.sources), str(error))
        return
    topics = ", ".join(topic for source in found for topic in source.topics)
    yield judge("sources", "files", f"{len(found)} sources read {topics}")


_READINESS = {
    "urgent_session": "the session for SOS and falls is down: see the bridge's log",
    "broker": "a session with the broker is down: see the bridge's log",
    "database": "the bridge has lost the database and waits for it: see its log",
    "identity": "messages are not accounted for: keep the bridge's log and restart it",
    "line": "the line has finished nothing for 30 s: it waits for the database, see the bridge's log",
    "canary": "its own messages do not come back: see what is wrong with the broker and the database above",
}


async def check_bridge(settings: Settings) -> list[Finding]:
    """Ask the running bridge whether it does its work."""
    url = f"http://{settings.metrics.host}:{settings.metrics.port}/readyz"
    try:
        async with httpx.AsyncClient(timeout=5) as client:
            ready = (await client.get(url)).json()
    except (httpx.HTTPError, ValueError) as error:
        found = str(error) or type(error).__name__
        return [fault("bridge", "running", found, f"start it: `carebell serve`; it answers at {url}")]
    return [
        judge("bridge", name, "yes" if holds else "no", holds, _READINESS.get(name, "see the bridge's log"))
        for name, holds in ready.items()
    ]
