"""`carebell alarm`: list, show and handle alarms where there is no desk. Talks to the database itself."""

import getpass
import json
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from duty import alarms, cards, trail
from duty.handling import NAME_LENGTH, NOTE_LENGTH, OUTCOMES, SHELF_MINUTES, Verb
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
    shelved: Annotated[bool, typer.Option("--shelved", help="Those that were put away instead.")] = False,
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
    if everything and shelved:
        fail("--all and --shelved: say one of them", 2)
    state: alarms.State = "all" if everything else "shelved" if shelved else "open"
    found = run(_list(state, device, limit, config))
    if as_json:
        typer.echo(json.dumps([_told(alarm) for alarm in found], ensure_ascii=False, indent=2))
    else:
        Console().print(_table(found))


@app.command()
def show(alarm_id: _AlarmId, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Show one alarm with its person, its contacts, the steps to take and its log.

    Example: carebell alarm show 12
    """
    card, address = run(_show(alarm_id, config))
    if as_json:
        shown = {**card.model_dump(mode="json"), "alarm": _told(card.alarm), "address": address}
        typer.echo(json.dumps(shown, ensure_ascii=False, indent=2))
    else:
        _print_card(card, address)


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
def arrive(
    alarm_id: _AlarmId,
    *,
    by: By = "",
    note: _Note = "",
    version: _Version = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Say that who was sent is on site.

    Example: carebell alarm arrive 12 --note 门已打开
    """
    _handle(alarm_id, Verb.ARRIVE, by, config, as_json, note=note, version=version)


@app.command()
def assign(
    alarm_id: _AlarmId,
    *,
    to: Annotated[str, typer.Option("--to", help=f"Who of the staff, at most {NAME_LENGTH} characters.")],
    by: By = "",
    note: _Note = "",
    version: _Version = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Name who is to see to it.

    Example: carebell alarm assign 12 --to 李强
    """
    _handle(alarm_id, Verb.ASSIGN, by, config, as_json, to=to, note=note, version=version)


@app.command()
def note(
    alarm_id: _AlarmId,
    text: Annotated[str, typer.Argument(help=f"What to remember, at most {NOTE_LENGTH} characters.")],
    *,
    by: By = "",
    version: _Version = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write something into an alarm's log.

    Example: carebell alarm note 12 女儿在路上
    """
    _handle(alarm_id, Verb.NOTE, by, config, as_json, note=text, version=version)


@app.command()
def merge(
    alarm_id: _AlarmId,
    *,
    into: Annotated[int, typer.Option("--into", min=1, help="The alarm with which it is seen to.")],
    by: By = "",
    note: _Note = "",
    version: _Version = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Close an alarm as one that is seen to with another.

    Example: carebell alarm merge 13 --into 12
    """
    _handle(alarm_id, Verb.MERGE, by, config, as_json, parent=into, note=note, version=version)


@app.command()
def shelve(
    alarm_id: _AlarmId,
    *,
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=SHELF_MINUTES, help="For how long.")],
    by: By = "",
    note: _Note = "",
    version: _Version = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Put an alarm away for a time; a call for help never is.

    Example: carebell alarm shelve 12 --minutes 120 --note 等待更换电池
    """
    _handle(alarm_id, Verb.SHELVE, by, config, as_json, minutes=minutes, note=note, version=version)


@app.command()
def unshelve(
    alarm_id: _AlarmId,
    *,
    by: By = "",
    note: _Note = "",
    version: _Version = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Put an alarm before staff again before its time.

    Example: carebell alarm unshelve 12
    """
    _handle(alarm_id, Verb.UNSHELVE, by, config, as_json, note=note, version=version)


@app.command()
def reopen(
    alarm_id: _AlarmId,
    *,
    by: By = "",
    note: _Note = "",
    version: _Version = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Open a closed alarm again; it is then yours.

    Example: carebell alarm reopen 12 --note 又来电话
    """
    _handle(alarm_id, Verb.REOPEN, by, config, as_json, note=note, version=version)


@app.command()
def close(
    alarm_id: _AlarmId,
    *,
    outcome: Annotated[Outcome, typer.Option("--outcome", help=_OUTCOMES_HELP)],
    explained: Annotated[
        bool, typer.Option("--explained", help="Of an outage: put away what it explains, for 12 hours.")
    ] = False,
    by: By = "",
    note: _Note = "",
    version: _Version = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Close an alarm with its outcome, and put away what an outage explains.

    Example: carebell alarm close 12 --outcome accidental --note 碰到了按钮
    """
    said = {"outcome": outcome, "explained": explained, "note": note, "version": version}
    _handle(alarm_id, Verb.CLOSE, by, config, as_json, **said)


async def _list(
    state: alarms.State, device: str | None, limit: int, config: Path | None
) -> list[alarms.Alarm]:
    async with connected(load_settings(config)) as connection:
        return await alarms.list_alarms(connection, state, device=device, limit=limit)


async def _show(alarm_id: int, config: Path | None) -> tuple[cards.Card, str]:
    """Return the card and, since whoever sends somebody from here has no desk to ask, the address."""
    async with connected(load_settings(config)) as connection:
        card = await cards.show(connection, alarm_id)
        await trail.record_command(connection, login_name(), "alarm show", {"alarm_id": alarm_id})
        return card, (await cards.address(connection, alarm_id)).address


def _handle(
    alarm_id: int,
    verb: Verb,
    by: str,
    config: Path | None,
    as_json: bool,
    **said: Any,  # noqa: ANN401  # as duty.alarms.handle takes them
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
        if not said.get("explained"):  # for a great outage that takes longer than a desk may wait
            await alarms.bound_session(connection)
        async with connection.transaction():
            alarm = await alarms.handle(connection, alarm_id, verb, by, settings.clock.clock().now(), **said)
            await trail.record_command(connection, by, f"alarm {verb}", {"alarm_id": alarm_id})
            return alarm


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


def _print_card(card: cards.Card, address: str) -> None:
    console = Console(highlight=False)
    console.print(_table([card.alarm]))
    for said in (card.alarm.why_zh, card.alarm.why_en, card.alarm.suppressed_zh):
        if said:
            console.print(Text(said))
    if card.person:
        person = card.person
        facts = (person.name, person.phone, address, person.care_level, person.notes)
        console.print(Text(" ".join(filter(None, facts))))
    for contact in card.contacts:
        console.print(Text(f"  {contact.relation} {contact.name} {contact.phone}"))
    for other in card.others:
        console.print(Text(f"另有未关闭：{other.alarm_id} {other.severity_zh} {other.kind_zh}"))
    if card.device:
        heard = printable(card.device.heard_at) if card.device.heard_at else "没有收到过"
        console.print(Text(f"设备 {card.device.device} 最近一次消息 {heard}"))
    for number, step in enumerate(card.steps, 1):
        console.print(Text(f"  {number}. {step}"))
    log = Table("时间", "谁", "说明", "规则")
    for entry in card.log:
        said = entry.said_zh or f"{entry.verb} {json.dumps(entry.detail, ensure_ascii=False)}"
        rule = f"{entry.rule_set_id} 版第 {entry.rule} 条" if entry.rule else ""
        log.add_row(*(Text(cell) for cell in (printable(entry.at), entry.actor, said, rule)))
    console.print(log)
