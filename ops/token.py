"""`carebell token`: keys for the desk. Only a digest is ever stored."""

import hashlib
import json
import secrets
from typing import Annotated

import typer

from duty.handling import BadOrderError, Order, Verb
from ops.common import fail

app = typer.Typer(no_args_is_help=True, help="Make tokens for the desk and its API.")


@app.callback()
def _group() -> None:
    """Keep `new` a command of its own while it is the only one."""


@app.command()
def new(name: Annotated[str, typer.Argument(help="The operator, as the log will name them.")]) -> None:
    """Make a token for an operator; it is shown this once.

    Example: carebell token new 王芳
    """
    try:
        Order(Verb.ACKNOWLEDGE, by=name)
    except BadOrderError as error:
        fail(f"NAME: {error}", 2)
    token = secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    typer.echo(f"token, for {name} alone:           {token}")
    typer.echo(f'line under [duty.tokens]:  {json.dumps(name, ensure_ascii=False)} = "{digest}"')
    typer.echo(f"page, opened with it:      http://DESK/#token={token}")
