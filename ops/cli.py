"""The command `carebell`: one line per noun, nothing else."""

import logging

import typer

from ops import alarm, config, db, dead, device, person, region, serve, sim, token
from ops import demo as demo_module
from ops.doctor import doctor

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="From an elderly person's safety device to an alarm that somebody handles.",
)
app.command("demo")(demo_module.demo)
app.command("serve")(serve.serve)
app.command("ingest")(serve.ingest)
app.command("duty")(serve.duty)
app.command("doctor")(doctor)
app.add_typer(alarm.app, name="alarm")
app.add_typer(db.app, name="db")
app.add_typer(dead.app, name="dead")
app.add_typer(device.app, name="device")
app.add_typer(person.app, name="person")
app.add_typer(region.app, name="region")
app.add_typer(sim.app, name="sim")
app.add_typer(config.app, name="config")
app.add_typer(token.app, name="token")


def main() -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("httpx", "httpcore", "aiomqtt"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    app()


if __name__ == "__main__":
    main()
