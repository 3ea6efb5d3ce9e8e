"""What every command shares: where the settings come from, and how a command ends.

Rules of this file: whatever a person can cause ends in one sentence on standard error and an exit code
(1 found something wrong, 2 usage), never in a traceback.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import psycopg
import typer
from psycopg import AsyncConnection

from schemas.errors import CarebellError, UsageError, WeatherError
from schemas.settings import Settings
from store import users

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", help="The configuration file. [default: $CAREBELL_CONFIG, else carebell.toml]"),
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="Allow a broker without login and a desk without tokens.")
]

log = logging.getLogger(__name__)

_T = TypeVar("_T")


def fail(sentence: str, code: int = 1) -> NoReturn:
    """Print one sentence on standard error and exit."""
    shown = "".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in sentence)
    typer.echo(f"carebell: {shown}", err=True)
    raise typer.Exit(code)


def load_settings(config: Path | None) -> Settings:
    """Read the settings; exit with code 2 and a sentence for each wrong key."""
    try:
        return Settings.load(config)
    except UsageError as error:
        fail(str(error), 2)


async def require_tokens(settings: Settings, *, insecure: bool) -> None:
    """Raise UsageError if nobody could use the desk, and nobody said that everybody may.

    Somebody is in the settings or among the users. A database that is away does not hold the start up: until
    it is back the desk lets nobody in.
    """
    if settings.duty.tokens or insecure:
        return
    try:
        async with connected(settings) as connection:
            counted = await users.count(connection)
    except (WeatherError, psycopg.OperationalError) as error:
        log.warning("whether there are users cannot be read: %s; nobody comes in until it can", error)
        return
    if not counted.users:
        raise UsageError(
            "duty.tokens is empty and there is no user: `carebell user add NAME --role ROLE` and"
            " `carebell user token NAME` let one in, `--insecure` everybody"
        )


def first_line(error: BaseException) -> str:
    """Return what an error says in its first line, or what it is if it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a command to its end and return its result, or exit with one sentence.

    SIGTERM ends it as Ctrl-C does: by cancelling it, so that every `async with` is left properly.
    """
    try:
        return asyncio.run(_until_terminated(coroutine))
    except UsageError as error:
        fail(str(error), 2)
    except CarebellError as error:
        fail(str(error))
    except psycopg.OperationalError as error:
        fail(f"the database does not answer: {first_line(error)}")
    except psycopg.Error as error:
        fail(f"the database refuses: {first_line(error)}")
    except UnicodeEncodeError:
        fail("an argument is not UTF-8: set the terminal to UTF-8", 2)
    except asyncio.CancelledError:
        raise typer.Exit(128 + signal.SIGTERM) from None
    except KeyboardInterrupt:
        raise typer.Exit(128 + signal.SIGINT) from None


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[AsyncConnection]:
    """Connect to the database in autocommit; raises WeatherError if it does not answer."""
    try:
        connection = await AsyncConnection.connect(
            settings.database.url, autocommit=True, connect_timeout=5, application_name="carebell"
        )
    except psycopg.OperationalError as error:
        raise WeatherError(f"the database does not answer: {first_line(error)}") from error
    async with connection:
        yield connection


def _cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error of ours that ended a group of tasks, else the first one."""
    leaves = [_cause(each) if isinstance(each, BaseExceptionGroup) else each for each in group.exceptions]
    return next((error for error in leaves if isinstance(error, CarebellError)), leaves[0])


async def _until_terminated(coroutine: Coroutine[Any, Any, _T]) -> _T:
    task = asyncio.ensure_future(coroutine)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await task
    except BaseExceptionGroup as group:
        raise _cause(group) from group
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
