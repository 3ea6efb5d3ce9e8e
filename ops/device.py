"""`carebell device`: import, list, show and move devices."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ops.common import ConfigOption, JsonOption, connected, fail, load_settings, run
from ops.imports import DryRunOption, FileArgument, import_command
from ops.listing import print_fields, printable, show_list, table
from ops.try_message import try_
from schemas import cells
from schemas.clock import to_datetime
from schemas.registry import DEVICES
from store import registry

app = typer.Typer(no_args_is_help=True, help="Import, list, show and move devices; try their messages.")
app.command("try")(try_)

_LISTED = (
    "device",
    "region",
    "region_name",
    "model",
    "person",
    "name",
    "heartbeat_seconds",
    "gateway",
    "self_registered",
    "drill",
)
_SPAN = ("device", "person", "name", "since", "until")
_ALARM = ("alarm_id", "device", "kind", "severity", "handling", "raised_at", "person")

_Device = Annotated[str, typer.Argument(metavar="DEVICE", help="The id, as it stands in the topic.")]
_Limit = Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="At most so many.")]


@app.command("import")
def import_(
    path: FileArgument,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Import devices from CSV: all of the file, or with any error nothing of it.

    Columns: device, region, model, person, heartbeat_seconds, gateway, aliases, or in Chinese: 设备编号,
    行政区划, 型号, 档案编号, 心跳秒数, 网关, 别名. The first two are needed; person is the file number of who
    has the device, so import people first; devices behind one gateway fall silent together; aliases are
    other names by which its messages come, as an IMEI, with ; between. A column that is absent leaves what
    is there, an empty cell empties it. Importing again changes only what differs.

    Example: carebell device import devices.csv --dry-run
    """
    import_command(lambda _: DEVICES, path, dry_run=dry_run, as_json=as_json, config=config)


@app.command("list")
def list_(
    region: Annotated[str | None, typer.Option("--region", help="Only in this code and below it.")] = None,
    person: Annotated[str | None, typer.Option("--person", help="Only of this file number.")] = None,
    limit: _Limit = 200,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List devices by id.

    Example: carebell device list --region 430602
    """
    found = run(_list(region, person, limit, config))
    show_list("devices", _LISTED, found, limit, as_json=as_json)


@app.command()
def show(device: _Device, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show one device: who has it, who had it, when it was last heard, its open alarms.

    Example: carebell device show BELL-0001
    """
    _print(run(_show(device, config)), as_json)


@app.command()
def move(
    device: _Device,
    to: Annotated[
        str | None, typer.Option("--to", metavar="PERSON", help="File number of who gets it.")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Nobody gets it.")] = False,
    region: Annotated[str | None, typer.Option("--region", help="Where it is from now on.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Give a device to another person, from now on: what came before stays with whoever had it.

    Example: carebell device move BELL-0001 --to YY-0017 --region 430602003
    """
    if (to is None) is not none:
        fail("say either --to PERSON or --none", 2)
    if region is not None:
        try:
            region = cells.region(region)
        except ValueError as error:
            fail(f"--region {error}", 2)
    _print(run(_move(device, to, region, config)), as_json)


async def _list(
    region: str | None, person: str | None, limit: int, config: Path | None
) -> list[registry.Device]:
    async with connected(load_settings(config)) as connection:
        return await registry.devices(connection, region=region, person=person, limit=limit)


async def _show(device: str, config: Path | None) -> registry.DeviceCard:
    async with connected(load_settings(config)) as connection:
        return await registry.show_device(connection, device)


async def _move(
    device: str, person: str | None, region: str | None, config: Path | None
) -> registry.DeviceCard:
    settings = load_settings(config)
    async with connected(settings) as connection:
        at = to_datetime(settings.clock.clock().now())
        return await registry.move(connection, device, person, region, at)


def _print(card: registry.DeviceCard, as_json: bool) -> None:
    if as_json:
        typer.echo(card.model_dump_json(indent=2))
        return
    print_fields(card.device)
    console = Console()
    typer.echo(f"{'last_heard':18} {printable(card.last_heard) or 'never'}")
    skew = "unknown" if card.clock_skew is None else f"{card.clock_skew:.1f} s behind"
    typer.echo(f"{'clock_skew':18} {skew}")
    console.print(table("who had it", _SPAN, card.had_by))
    console.print(table("open alarms", _ALARM, card.open_alarms))
