"""`carebell token`: keys for the desk that stand in its configuration. Only a digest is ever stored."""

import hashlib
import json
import secrets
from typing import Annotated

import typer

from duty.handling import BadOrderError, Order, Verb
from ops.common import fail

app = typer.Typer(no_args_is_help=True, help="Make tokens for the configuration. See `carebell user`.")


@app.callback()
def _group() -> None:
    """Keep `new` a command of its own while it is the only one."""


@app.command()
def new(name: Annotated[str, typer.Argument(help="The operator, as the log will name them.")]) -> None:
    """Make a token for [duty.tokens]; it is shown this once, and is an operator's.

    It does not expire, and taking it away needs a restart of the desk: for people, `carebell user add` and
    `carebell user token` are better. This one suits machines, tests and a desk without its database.

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
