"""The steps that the card shows: every kind has some, and a file with a mistake is refused by name."""

import pytest

from duty import steps
from schemas.alarms import KINDS, Class
from schemas.errors import UsageError

CLASSES = "[class]\n" + "".join(f'{known.value} = ["一", "二", "三"]\n' for known in Class)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_steps_of_its_own(kind: str) -> None:
    """Nobody has to make do with what is said of a whole class."""
    catalogue = steps.shipped()
    found = catalogue.of(kind, KINDS[kind].alarm_class)
    assert found is catalogue.kinds[kind]
    assert steps.FEWEST <= len(found) <= steps.MOST
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("kind", [kind for kind in KINDS.values() if kind.alarm_class is Class.LIFE])
def test_a_call_for_help_is_called_back_and_ends_with_an_outcome(kind: object) -> None:
    """Whatever calls for help: call back first, others and 120 or 110 beside it, an outcome at the end."""
    found = steps.shipped().kinds[getattr(kind, "name", "")]
    assert any("立即回拨" in step for step in found[:2])
    assert any("120" in step or "110" in step for step in found)
    assert any("联系" in step or "通知" in step for step in found)
    assert "关闭" in found[-1]


def test_a_kind_without_steps_has_those_of_its_class() -> None:
    """A kind that a later version of the engine knows has a card with steps too."""
    catalogue = steps.shipped()
    for alarm_class in Class:
        assert catalogue.of("not_known_yet", alarm_class) == catalogue.classes[alarm_class]


WRONG = {
    "[class": "steps.toml: ",
    "": "class is not a table",
    "class = 1": "class is not a table",
    '[class]\nlife = ["一", "二", "三"]': r"class\.health is missing",
    CLASSES + "[other]": "other: neither class nor kind",
    CLASSES + "kind = 1": r"class\.kind: there is no such class",
    CLASSES + '[kind]\nsoss = ["一", "二", "三"]': r"kind\.soss: there is no such kind",
    CLASSES + '[kind]\nsos = "一"': r"kind\.sos is not a list of texts",
    CLASSES + '[kind]\nsos = ["一", "二", 3]': r"kind\.sos is not a list of texts",
    CLASSES + '[kind]\nsos = ["一", "二"]': r"kind\.sos has 2 steps",
    CLASSES + '[kind]\nsos = ["一", "二", "三", "四", "五", "六", "七"]': r"kind\.sos has 7 steps",
    CLASSES + '[kind]\nsos = ["一", " ", "三"]': r"kind\.sos: step 2 is no text",
    CLASSES + '[kind]\nsos = ["一", "二", "' + "长" * 41 + '"]': r"kind\.sos: step 3 is no text",
    CLASSES + '[kind]\nsos = ["一\\n二", "二", "三"]': r"kind\.sos: step 1 is no text",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_with_the_file_is_said(text: str) -> None:
    """A misspelt kind, a missing class, too many or empty steps: the error names the place."""
    with pytest.raises(UsageError, match=WRONG[text]):
        steps.read(text)
