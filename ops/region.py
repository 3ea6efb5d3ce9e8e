"""`carebell region`: name administrative codes and see which are in use."""

from pathlib import Path
from typing import Annotated

import typer

from ops.common import ConfigOption, JsonOption, connected, load_settings, run
from ops.imports import DryRunOption, FileArgument, import_command
from ops.listing import show_list
from schemas.registry import REGIONS
from store import registry

app = typer.Typer(no_args_is_help=True, help="Name administrative codes and list those in use.")

_LISTED = ("region", "name", "parent", "parent_name", "lat", "lon", "devices")


@app.command("import")
def import_(
    path: FileArgument,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Import names of codes from CSV: all of the file, or with any error nothing of it.

    Columns: region, name, lat, lon (or 行政区划, 名称, 纬度, 经度). A code has 6, 9 or 12 digits; a prefix is
    the parent. Degrees in WGS 84 put a code on the map of the boards; a file may leave them out.

    Example: carebell region import regions.csv
    """
    import_command(lambda _: REGIONS, path, dry_run=dry_run, as_json=as_json, config=config)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="At most so many.")] = 1000,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List the codes that have names or devices, with their parents; an empty name is one to be given.

    Example: carebell region list
    """
    found = run(_list(limit, config))
    show_list("regions", _LISTED, found, limit, as_json=as_json)


async def _list(limit: int, config: Path | None) -> list[registry.Region]:
    async with connected(load_settings(config)) as connection:
        return await registry.regions(connection, limit=limit)
