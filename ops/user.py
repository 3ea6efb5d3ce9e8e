"""`carebell user`: who may use the desk, their tokens, and the log of what was done and read there.

Rules of this file: a token is printed once, by the command that makes it; every change is in the log with the
name under which the machine knows whoever made it.
"""

import getpass
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from psycopg import AsyncConnection
from pydantic import BaseModel

from duty import trail, users
from duty.access import ROLE_ZH, Role
from duty.alarms import database_errors
from duty.handling import BadOrderError
from ops.common import ConfigOption, JsonOption, connected, fail, load_settings, run
from ops.listing import print_fields, printable, show_list

app = typer.Typer(no_args_is_help=True, help="Keep users of the desk, their tokens and the audit log.")

_USERS: Final = ("name", "role", "tokens", "until", "disabled_at", "created_at")
_TOKENS: Final = ("token_id", "name", "counts", "expires_at", "revoked_at", "note", "created_at")
_LINES: Final = (
    *("audit_id", "at", "actor", "role", "action", "alarm_id", "person_id", "status", "address", "detail"),
)
_SHANGHAI: Final = timezone(timedelta(hours=8), "CST")
_ROLES: Final = ", ".join(f"{role} ({ROLE_ZH[role]})" for role in Role)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The user, as the logs name them.")]
_Limit = Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="At most so many.")]
_T = TypeVar("_T")


class _New(BaseModel):
    """What is told of a new token, this once."""

    token_id: int
    name: str
    token: str
    expires_at: datetime


@app.command()
def add(
    name: _Name,
    role: Annotated[Role, typer.Option("--role", help=f"What they may: {_ROLES}.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a user; `carebell user token` then lets them in.

    viewer: sees the list, without phones and addresses. operator: handles alarms, sees who is behind them.
    supervisor: figures and the audit log too. admin: all that there is.

    Example: carebell user add 王芳 --role operator
    """
    _print(_do(config, lambda connection, by: users.add(connection, by, name, role)), as_json=as_json)


@app.command("list")
def list_(
    tokens: Annotated[bool, typer.Option("--tokens", help="Tokens, newest first, without secrets.")] = False,
    limit: _Limit = 200,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List users and how many of their tokens count, or the tokens.

    Example: carebell user list --tokens
    """
    found: list[Any]
    if tokens:
        found = _do(config, lambda connection, _: users.list_tokens(connection, limit))
    else:
        found = _do(config, lambda connection, _: users.list_users(connection, limit))
    title, columns = ("tokens", _TOKENS) if tokens else ("users", _USERS)
    show_list(title, columns, found, limit, as_json=as_json)


@app.command()
def token(
    name: _Name,
    days: Annotated[
        int, typer.Option("--days", min=1, max=users.MOST_DAYS, help="For how long it counts.")
    ] = users.DAYS,
    note: Annotated[str, typer.Option("--note", help="What it is for, such as 三号台.")] = "",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a token for a user; it is shown this once. It opens the desk at once.

    Example: carebell user token 王芳 --days 30 --note 三号台
    """
    secret, kept = _do(
        config, lambda connection, by: users.new_token(connection, by, name, days=days, note=note)
    )
    if as_json:
        new = _New(token_id=kept.token_id, name=kept.name, token=secret, expires_at=kept.expires_at)
        typer.echo(new.model_dump_json(indent=2))
        return
    typer.echo(f"token {kept.token_id}, for {printable(kept.name)} alone: {secret}")
    typer.echo(f"counts until:          {printable(kept.expires_at)}")
    typer.echo(f"page, opened with it:  http://DESK/#token={secret}")


@app.command()
def revoke(
    token_id: Annotated[
        int | None,
        typer.Argument(metavar="TOKEN_ID", help="As `list --tokens` shows it.", min=1, max=2**31 - 1),
    ] = None,
    everything: Annotated[str, typer.Option("--all", metavar="NAME", help="All tokens of a user.")] = "",
    config: ConfigOption = None,
) -> None:
    """Take a token back, or all of a user; within 5 seconds it opens nothing any more.

    Example: carebell user revoke 12
    """
    if (token_id is None) is (not everything):
        fail("say which token: its number, or --all NAME", 2)
    if token_id is None:
        revoked = _do(config, lambda connection, by: users.revoke_all(connection, by, everything))
    else:
        number = token_id
        revoked = _do(config, lambda connection, by: users.revoke(connection, by, number))
    typer.echo(f"revoked: {', '.join(map(str, revoked)) or 'nothing, for no token counted'}")


@app.command("role")
def role_(
    name: _Name,
    role: Annotated[Role, typer.Argument(metavar="ROLE", help=f"What they may: {_ROLES}.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Give a user another role; their tokens have it within 5 seconds.

    Example: carebell user role 王芳 supervisor
    """
    _print(_do(config, lambda connection, by: users.set_role(connection, by, name, role)), as_json=as_json)


@app.command()
def disable(name: _Name, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Let a user in no longer, whatever tokens they have; the logs keep their name.

    Example: carebell user disable 王芳
    """
    _print(_do(config, lambda connection, by: users.disable(connection, by, name)), as_json=as_json)


@app.command()
def enable(name: _Name, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Let a disabled user in again, with the tokens that are neither revoked nor over.

    Example: carebell user enable 王芳
    """
    _print(_do(config, lambda connection, by: users.enable(connection, by, name)), as_json=as_json)


@app.command()
def log(
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="From then on: 2026-03-01 or 2026-03-01T08:00.")
    ] = "",
    limit: _Limit = 200,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Show who handled alarms, read personal data, was refused, or changed users; newest first.

    Example: carebell user log --since 2026-03-01 --json
    """
    moment = _moment(since) if since else datetime(2000, 1, 1, tzinfo=UTC)
    found = _do(config, lambda connection, _: trail.read_since(connection, moment, limit))
    show_list("lines", _LINES, found, limit, as_json=as_json)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--since {text}: a time is written 2026-03-01 or 2026-03-01T08:00", 2)
    return moment if moment.tzinfo else moment.replace(tzinfo=_SHANGHAI)


def _print(user: users.User, *, as_json: bool) -> None:
    if as_json:
        typer.echo(user.model_dump_json(indent=2))
    else:
        print_fields(user)


def _do(config: Path | None, work: Callable[[AsyncConnection, str], Awaitable[_T]]) -> _T:
    """Run a piece of work in the name of whoever is logged in; what it cannot take ends with exit code 2."""

    async def do() -> _T:
        async with connected(load_settings(config)) as connection:
            with database_errors():
                return await work(connection, _login())

    async def said() -> _T | BadOrderError:
        try:
            return await do()
        except BadOrderError as error:
            return error

    done = run(said())
    if isinstance(done, BadOrderError):
        fail(str(done), 2)
    return done


def _login() -> str:
    """Return the login name of this machine's user, or that it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "nobody"
