"""The boards, written in Python: `python -m grafana` makes dashboards/*.json, which are committed.

One module per board says which panels it has; `panels` says what a panel is here. `alerts` makes what Grafana
itself tells (provisioning/alerting/*.yaml). The SQL stands in store/queries/boards.sql, the words in
schemas/alarms.py.
"""

from collections.abc import Callable
from pathlib import Path

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from grafana import alerts, device, duty, fleet, person, quality, region, system

DASHBOARDS = Path(__file__).with_name("dashboards")
ALERTING = Path(__file__).with_name("provisioning") / "alerting"

BOARDS: dict[str, Callable[[], Dashboard]] = {
    "duty": duty.board,
    "device": device.board,
    "fleet": fleet.board,
    "system": system.board,
    "region": region.board,
    "quality": quality.board,
    "person": person.board,
}
"""Each board by the name of its file."""


def built(name: str) -> models.Dashboard:
    """Return a board with its panels numbered, so that a link to one of them stays good."""
    board = BOARDS[name]().build()
    for number, panel in enumerate(board.panels or [], 1):
        panel.id_val = number
    return board


def written() -> dict[Path, str]:
    """Return the JSON of every board, and the YAML of the alerts, by the file that each belongs in."""
    encoder = JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False)
    found = {DASHBOARDS / f"{name}.json": encoder.encode(built(name)) + "\n" for name in BOARDS}
    return found | {ALERTING / name: text for name, text in alerts.files().items()}
