"""Scenarios are TOML whose every key is checked, and those that ship are as they are described."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from device_sims.district import District
from device_sims.families import FAMILIES
from device_sims.knobs import Knobs
from device_sims.scenario import load, names
from device_sims.weather import TowerDown
from ops.cli import app
from schemas.errors import UsageError
from schemas.sources import mapping
from tests.unit.sims import START

ROOT = Path(__file__).parents[2]
GOOD = """
name = "x"
zh = "试"
about = "a test"
hours = 1
speed = 100
[[household]]
people = 2
devices = ["bell", "g6xx"]
"""


@pytest.mark.parametrize("name", names())
def test_what_ships_can_be_played(name: str) -> None:
    """Each is called as its file, has devices and an end, and its first messages can be had."""
    scenario = load(name)
    assert scenario.name == name
    district = District(scenario, 7, START)
    assert len(district.devices) == scenario.devices
    assert next(district.sends())


@pytest.mark.parametrize("name", [name for name in names() if name != "month"])
def test_a_demo_takes_a_minute_or_two(name: str) -> None:
    """At its own speed a scenario ends soon enough to watch it."""
    scenario = load(name)
    assert 50 <= scenario.hours * 3600 / scenario.speed <= 120


def test_the_month_is_what_it_says() -> None:
    """A thousand people of all families for thirty days, and no knob is at rest."""
    month = load("month")
    assert (month.people, month.hours) == (1000, 720)
    assert {name for each in month.household for name in each.devices} == FAMILIES.keys()
    assert not [name for name, value in month.knobs if value in (0, (0, 0))]
    assert {type(each) for each in month.event} >= {TowerDown}


def test_a_scenario_names_the_mappings_that_its_devices_need(tmp_path: Path) -> None:
    """A bridge that is to understand them is told which; each of them ships."""
    path = tmp_path / "x.toml"
    path.write_text(GOOD)
    assert load(str(path)).sources == ["g6xx"]
    assert set(load("month").sources) <= set(mapping.shipped())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("hours = 1", "hours"),
        ('devices = ["bell", "g6xx"]', "devices"),
        ("people = 2", "people"),
        ('name = "x"', "name"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, change: str, said: str) -> None:
    """Without one of its keys a scenario is refused by the key's name."""
    path = tmp_path / "x.toml"
    path.write_text(GOOD.replace(change, ""))
    with pytest.raises(UsageError, match=said):
        load(str(path))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("wind = 3", "wind"),
        ("[knobs]\ngusts = 3", "gusts"),
        ("[knobs]\nduplicates = 1.5", "duplicates"),
        ("[knobs]\npresses = [3, 1]", "no range"),
        ("[knobs]\nvitals = 0", "vitals"),
        ('[[event]]\nkind = "earthquake"\nafter = 1\nhours = 1', "kind"),
        ('[[event]]\nkind = "tower_down"\nafter = 1\nhours = 0', "hours"),
        ('[[event]]\nkind = "flood"\nafter = 1\nhours = 1', "share"),
        ('[[household]]\npeople = 1\ndevices = ["toaster"]', "toaster"),
        ("[[household", "not TOML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, more: str, said: str) -> None:
    """Unknown keys, families, events, and numbers that make no sense."""
    path = tmp_path / "x.toml"
    path.write_text(f"{GOOD}\n{more}\n")
    with pytest.raises(UsageError, match=said):
        load(str(path))


def test_a_file_that_is_not_there_is_named() -> None:
    """With what ships beside it."""
    with pytest.raises(UsageError, match="quiet-day"):
        load("earthquake")


def test_knobs_are_for_ever_as_they_were_set() -> None:
    """Nobody turns them while devices run."""
    with pytest.raises(ValidationError):
        Knobs().duplicates = 1  # type: ignore[misc]


def test_the_page_names_every_knob_with_its_figure_and_every_family_and_scenario() -> None:
    """docs/simulators.md is complete and says the figures that are in force."""
    page = (ROOT / "docs" / "simulators.md").read_text("utf-8")
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| `")}
    for name, knob in Knobs.model_fields.items():
        figure = knob.default
        low_high = isinstance(figure, tuple)
        told = f"{figure[0]:g} to {figure[1]:g}" if low_high else f"{figure:.2g}"
        assert f"| {told} |" in rows[f"`{name}`"], name
        assert str(knob.description) in rows[f"`{name}`"], name
    for name in (*FAMILIES, *names()):
        assert f"`{name}`" in rows, name


# ----------------------------------------------------------------------------------------------- the commands


def carebell(*arguments: str) -> tuple[int, str]:
    """Run a command; return its exit code and all that it said."""
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


def test_the_scenarios_can_be_listed() -> None:
    """Each that ships is there, with its Chinese name, for people and for programs."""
    code, said = carebell("sim", "scenarios", "--json")
    assert code == 0
    listed = {each["name"]: each for each in json.loads(said)}
    assert sorted(listed) == names()
    assert {"quiet-day", "bad-network", "tower-down", "flood", "heat-wave", "drill"} <= listed.keys()
    assert (listed["month"]["people"], listed["month"]["hours"]) == (1000, 720)
    code, said = carebell("sim", "scenarios")
    assert (code, "基站中断" in said) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("sim", "run", "--scenario", "earthquake"), "quiet-day"),
        (("sim", "run", "--scenario", "drill", "--truth", "/nowhere/t.json"), "No such file"),
        (("sim", "run", "--scenario", "drill", "--hours", "nan"), "--hours"),
        (("sim", "run", "--minutes", "inf"), "--minutes"),
        (("sim", "run", "--hours", "3"), "--minutes"),
        (("demo", "--scenario", "drill", "--seconds", "40"), "--seconds"),
    ],
)
def test_what_cannot_be_played_is_told_before(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    """Exit code 2 and what is wrong, before anything is sent."""
    if arguments[0] == "sim" and "--truth" not in arguments:
        arguments += ("--truth", str(tmp_path / "t.json"))
    code, said = carebell(*arguments)
    assert (code, sentence in said, "Traceback" in said) == (2, True, False), said
