"""`carebell alarm`: list, show and handle alarms where there is no desk. Talks to the database itself."""

import getpass
import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from duty import alarms
from duty.handling import NAME_LENGTH, NOTE_LENGTH, OUTCOMES, Verb
from ops.common import ConfigOption, JsonOption, connected, fail, load_settings, run
from ops.listing import printable
from schemas.alarms import OUTCOME_ZH, Outcome

app = typer.Typer(no_args_is_help=True, help="List, show and handle alarms.")

_OUTCOMES_HELP: Final = (
    "How it ended: " + ", ".join(f"{code} ({OUTCOME_ZH[code]})" for code in OUTCOMES) + "."
)

_AlarmId = Annotated[
    int, typer.Argument(min=1, metavar="ID", help="Number of the alarm, as `list` shows it.")
]
By = Annotated[str, typer.Option("--by", help="Who does it. [default: the login name]")]
_Note = Annotated[str, typer.Option("--note", help=f"What to remember, at most {NOTE_LENGTH} characters.")]
_Version = Annotated[
    int | None, typer.Option("--version", min=1, help="Refuse if the alarm has changed since.")
]


@app.command("list")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Closed ones too, newest first.")] = False,
    device: Annotated[str | None, typer.Option("--device", help="Only of this device.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=alarms.MAX_LIMIT, help="At most so many.")
    ] = 200,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """List open alarms, life first, then by severity and age.

    Example: carebell alarm list --all --device BELL-0001
    """
    found = run(_list("all" if everything else "open", device, limit, config))
    if as_json:
        typer.echo(json.dumps([_told(alarm) for alarm in found], ensure_ascii=False, indent=2))
    else:
        Console().print(_table(found))


@app.command()
def show(alarm_id: _AlarmId, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show one alarm with its person, its contacts and its log.

    Example: carebell alarm show 12
    """
    card = run(_show(alarm_id, config))
    if as_json:
        shown = {**card.model_dump(mode="json"), "alarm": _told(card.alarm)}
        typer.echo(json.dumps(shown, ensure_ascii=False, indent=2))
    else:
        _print_card(card)


@app.command()
def ack(
    alarm_id: _AlarmId,
    *,
    by: By = "",
    note: _Note = "",
    version: _Version = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Acknowledge an alarm: take it up.

    Example: carebell alarm ack 12 --by 王芳
    """
    _handle(alarm_id, Verb.ACKNOWLEDGE, by, config, as_json, note=note, version=version)


@app.command()
def dispatch(
    alarm_id: _AlarmId,
    *,
    to: Annotated[str, typer.Option("--to", help=f"Who is sent, at most {NAME_LENGTH} characters.")],
    by: By = "",
    note: _Note = "",
    version: _Version = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Send somebody, or somebody more.

    Example: carebell alarm dispatch 12 --to 李强
    """
    _handle(alarm_id, Verb.DISPATCH, by, config, as_json, to=to, note=note, version=version)


@app.command()
def close(
    alarm_id: _AlarmId,
    *,
    outcome: Annotated[Outcome, typer.Option("--outcome", help=_OUTCOMES_HELP)],
    by: By = "",
    note: _Note = "",
    version: _Version = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Close an alarm with its outcome.

    Example: carebell alarm close 12 --outcome accidental --note 碰到了按钮
    """
    _handle(alarm_id, Verb.CLOSE, by, config, as_json, outcome=outcome, note=note, version=version)


async def _list(
    state: alarms.State, device: str | None, limit: int, config: Path | None
) -> list[alarms.Alarm]:
    async with connected(load_settings(config)) as connection:
        return await alarms.list_alarms(connection, state, device=device, limit=limit)


async def _show(alarm_id: int, config: Path | None) -> alarms.Card:
    async with connected(load_settings(config)) as connection:
        return await alarms.show(connection, alarm_id)


def _handle(
    alarm_id: int,
    verb: Verb,
    by: str,
    config: Path | None,
    as_json: bool,
    **said: Any,  # noqa: ANN401  # to, outcome, note and version, as duty.alarms.handle takes them
) -> None:
    alarm = run(_move(alarm_id, verb, by or login_name(), config, said))
    if as_json:
        typer.echo(json.dumps(_told(alarm), ensure_ascii=False, indent=2))
        return
    said_zh = f"{alarm.handling_zh} {alarm.outcome_zh}".rstrip()
    typer.echo(f"{alarm.alarm_id} {alarm.kind_zh} {alarm.device}: {said_zh}")


async def _move(
    alarm_id: int, verb: Verb, by: str, config: Path | None, said: dict[str, Any]
) -> alarms.Alarm:
    settings = load_settings(config)
    async with connected(settings) as connection:
        await alarms.bound_session(connection)
        return await alarms.handle(connection, alarm_id, verb, by, settings.clock.clock().now(), **said)


def login_name() -> str:
    """Return who runs this process; exit if nobody knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        fail("this process has no login name: say who you are with --by NAME", 2)


def _told(alarm: alarms.Alarm) -> dict[str, Any]:
    """Return an alarm as JSON takes it, with what the desk does not tell."""
    return {**alarm.model_dump(mode="json"), "drill": alarm.drill}


def _table(found: list[alarms.Alarm]) -> Table:
    table = Table(title=f"{len(found)} 条报警", title_justify="left")
    for title in ("编号", "级别", "类型", "老人", "设备", "区域", "次数", "发生时间", "状态", "结果"):
        # a name and what is the matter are read at a glance, however narrow the terminal is
        table.add_column(title, overflow="fold", min_width=8 if title in {"类型", "老人"} else None)
    for alarm in found:
        who = alarm.dispatched_to or alarm.acknowledged_by or ""
        row = (
            str(alarm.alarm_id),
            alarm.severity_zh,
            f"{alarm.kind_zh} {alarm.quality_zh or alarm.remark_zh}".rstrip(),
            alarm.person,
            alarm.device,
            alarm.region_name or alarm.region,
            str(alarm.count),
            printable(alarm.raised_at),
            f"{alarm.handling_zh} {who} {alarm.condition_zh}".rstrip(),
            alarm.outcome_zh,
        )
        table.add_row(*(Text(cell) for cell in row))  # Text: what devices and people wrote is no markup
    return table


def _print_card(card: alarms.Card) -> None:
    console = Console(highlight=False)
    console.print(_table([card.alarm]))
    for said in (card.alarm.why_zh, card.alarm.why_en, card.alarm.suppressed_zh):
        if said:
            console.print(Text(said))
    if card.person:
        person = card.person
        console.print(Text(f"{person.name} {person.phone} {person.address} {person.notes}".rstrip()))
    for contact in card.contacts:
        console.print(Text(f"  {contact.relation} {contact.name} {contact.phone}"))
    log = Table("时间", "谁", "做了什么", "说明", "规则")
    for entry in card.log:
        said = entry.said_zh or (json.dumps(entry.detail, ensure_ascii=False) if entry.detail else "")
        rule = f"{entry.rule_set_id} 版第 {entry.rule} 条" if entry.rule else ""
        log.add_row(*(Text(cell) for cell in (printable(entry.at), entry.actor, entry.verb, said, rule)))
    console.print(log)
