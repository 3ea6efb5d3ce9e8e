"""`carebell config`: the reference of all settings, and a check of yours."""

import typer

from ops.common import ConfigOption, load_settings
from schemas.settings import SAMPLE

app = typer.Typer(no_args_is_help=True, help="Print and check settings.")


@app.command()
def sample() -> None:
    """Print the reference: every key, its default and what it does.

    Example: carebell config sample > carebell.toml
    """
    typer.echo(SAMPLE.read_text(encoding="utf-8"), nl=False)


@app.command()
def check(config: ConfigOption = None) -> None:
    """Read the settings and say which keys are wrong; exits with 2 if any are.

    Example: carebell config check --config carebell.toml
    """
    load_settings(config)
    typer.echo("settings are right")
