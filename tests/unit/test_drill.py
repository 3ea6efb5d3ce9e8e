"""`carebell drill`: whom it makes up, what they say, and what it refuses before anything begins."""

import json
import random
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ops import drill
from ops.cli import app
from schemas.messages import ADAPTERS
from schemas.topics import CHANNELS, DEVICE_PATTERN
from store.drill import Pattern


@pytest.mark.parametrize(
    ("like", "looks"),
    [
        ("BELL-0001", r"BELL-[1-9][0-9]{7}"),
        ("868120345678901", r"[1-9][0-9]{14}"),
        ("a1-b22", r"a1-b[1-9][0-9]{7}"),
        ("corridor", r"corridor[1-9][0-9]{7}"),
        ("", r"[1-9][0-9]{7}"),
        ("厨房 3", r"BELL-[1-9][0-9]{7}"),
        ("x" * 60 + "1", r"BELL-[1-9][0-9]{7}"),
    ],
)
def test_a_name_is_like_those_of_the_region_with_a_number_that_none_has(like: str, looks: str) -> None:
    """Eight digits or more without a zero before them, and a topic can bear it."""
    for seed in range(50):
        name = drill._name(random.Random(seed), like)
        assert re.fullmatch(looks, name)
        assert DEVICE_PATTERN.fullmatch(name)


def test_a_card_has_all_that_staff_look_for_and_no_telephone_of_anybody() -> None:
    """Name, age, address and contacts are there; behind the area code each number begins with 0."""
    pattern = Pattern("BELL-0001", "bell", "340104001", "合肥市蜀山区三里庵街道")
    for seed in range(50):
        card = drill._card(random.Random(seed), "BELL-12345678", pattern, 2026)
        assert (card.device, card.region, card.model) == ("BELL-12345678", "340104001", "bell")
        assert card.name
        assert 1900 < card.birth_year < 1961
        assert re.fullmatch(r"合肥市蜀山区三里庵街道\w+\d+号\w+室", card.address)
        assert [each["rank"] for each in card.contacts] == list(range(1, len(card.contacts) + 1))
        numbers = [card.phone, *(each["phone"] for each in card.contacts)]
        assert len(numbers) > 1
        assert all(re.fullmatch(r"0[0-9]{3}-0[0-9]{6}", number) for number in numbers)


@pytest.mark.parametrize("kind", drill.KINDS)
def test_what_a_device_says_is_what_devices_say(kind: str) -> None:
    """Nothing in it tells a drill: its fields are those of the contract, and it has its time."""
    said = drill._payload(random.Random(1), kind, 1_772_352_000_123_456)
    fields = ADAPTERS[CHANNELS[kind]].validate_json(said)
    assert json.loads(said) == fields
    assert fields["ts"] == 1_772_352_000_123
    assert "drill" not in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--region 16", "--region “16” is no administrative code"),
        ("--region 430602 --kind sos,fire", "--kind sos,fire: it is sos or fall"),
        ("--region 430602 --kind ", "it is sos or fall"),
        ("--region 430602 --alarms 0", "--alarms"),
        ("--region 430602 --end-after 0", "--end-after"),
        ("--region 430602 --minutes -1", "--minutes"),
        ("", "--region"),
    ],
)
def test_wrong_usage_is_code_2(options: str, says: str, tmp_path: Path) -> None:
    """What could never be held is refused before anybody is asked."""
    config = tmp_path / "carebell.toml"
    config.write_text('[database]\nurl = "postgresql://127.0.0.1:1/none"\n', encoding="utf-8")
    arguments = ["drill", *options.split(" "), "--config", str(config)] if options else ["drill"]
    found = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert found.exit_code == 2, found.output
    assert says in found.stderr
