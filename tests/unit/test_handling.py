"""The handling machine: its table, its refusals, and the laws that hold for every sequence of verbs."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duty.handling import (
    OUTCOMES,
    BadOrderError,
    IllegalMoveError,
    NotAllowedError,
    Order,
    Standing,
    Verb,
    advance,
)
from schemas.alarms import Handling, Outcome

LEGAL: dict[tuple[Handling, Verb], Handling] = {
    (Handling.UNACKNOWLEDGED, Verb.ACKNOWLEDGE): Handling.ACKNOWLEDGED,
    (Handling.ACKNOWLEDGED, Verb.DISPATCH): Handling.DISPATCHED,
    (Handling.ACKNOWLEDGED, Verb.CLOSE): Handling.CLOSED,
    (Handling.ACKNOWLEDGED, Verb.MERGE): Handling.CLOSED,
    (Handling.DISPATCHED, Verb.DISPATCH): Handling.DISPATCHED,
    (Handling.DISPATCHED, Verb.ARRIVE): Handling.ARRIVED,
    (Handling.DISPATCHED, Verb.CLOSE): Handling.CLOSED,
    (Handling.DISPATCHED, Verb.MERGE): Handling.CLOSED,
    (Handling.ARRIVED, Verb.DISPATCH): Handling.ARRIVED,
    (Handling.ARRIVED, Verb.CLOSE): Handling.CLOSED,
    (Handling.ARRIVED, Verb.MERGE): Handling.CLOSED,
    (Handling.CLOSED, Verb.NOTE): Handling.CLOSED,
    (Handling.CLOSED, Verb.REOPEN): Handling.ACKNOWLEDGED,
    **{
        (state, verb): state
        for state in Handling
        for verb in (Verb.ASSIGN, Verb.NOTE, Verb.SHELVE, Verb.UNSHELVE)
        if state is not Handling.CLOSED
    },
}
verbs = st.lists(st.sampled_from(Verb), max_size=20)


def follow(sequence: Sequence[Verb], state: Handling = Handling.UNACKNOWLEDGED) -> list[Handling]:
    """Return the states that an alarm goes through, from the first one, when illegal moves are refused."""
    states = [state]
    for verb in sequence:
        try:
            states.append(advance(states[-1], verb))
        except IllegalMoveError:
            states.append(states[-1])
    return states


@pytest.mark.parametrize(("state", "verb"), list(itertools.product(Handling, Verb)))
def test_every_pair_of_state_and_verb_is_decided(state: Handling, verb: Verb) -> None:
    """A pair leads where the table says, or is refused by naming state and verb."""
    if (state, verb) in LEGAL:
        assert advance(state, verb) is LEGAL[state, verb]
        return
    with pytest.raises(IllegalMoveError, match=f"cannot {verb} an alarm that is {state}") as refusal:
        advance(state, verb)
    assert (refusal.value.state, refusal.value.verb) == (state, verb)


def test_a_refusal_names_who_was_first() -> None:
    """The second of two operators is told who has the alarm, in both tongues."""
    with pytest.raises(IllegalMoveError, match="王芳 was first") as refusal:
        advance(Handling.ACKNOWLEDGED, Verb.ACKNOWLEDGE, "王芳")
    assert refusal.value.first == "王芳"
    assert refusal.value.zh == "不能确认：该报警已确认（王芳在先）"


def test_a_refusal_says_what_would_be_legal() -> None:
    """Who tries to dispatch too early reads that the alarm takes an acknowledgement."""
    with pytest.raises(IllegalMoveError, match=r"it takes: acknowledge, assign"):
        advance(Handling.UNACKNOWLEDGED, Verb.DISPATCH)


@given(verbs, verbs)
def test_only_reopening_leads_out_of_closed(before: list[Verb], after: list[Verb]) -> None:
    """However an alarm was closed, no sequence of other verbs opens it again."""
    states = follow([*before, Verb.ACKNOWLEDGE, Verb.CLOSE])
    assert states[-1] is Handling.CLOSED
    others: list[Verb] = [verb for verb in after if verb is not Verb.REOPEN]
    assert set(follow(others, Handling.CLOSED)) == {Handling.CLOSED}


@given(verbs)
def test_whatever_is_closed_was_acknowledged(sequence: list[Verb]) -> None:
    """No sequence closes, merges or dispatches what nobody took up, and only reopening goes back."""
    states = follow(sequence)
    if states[-1] is not Handling.UNACKNOWLEDGED:
        assert Handling.ACKNOWLEDGED in states
    order = list(Handling)
    forward = [order.index(state) for state in follow([verb for verb in sequence if verb is not Verb.REOPEN])]
    assert forward == sorted(forward)


@pytest.mark.parametrize("state", [state for state in Handling if state is not Handling.CLOSED])
def test_a_call_for_help_is_never_shelved(state: Handling) -> None:
    """No state offers or allows shelving of an alarm of life; what is not shelved cannot be unshelved."""
    life = Standing(state, life=True, shelved=False, outcome=None)
    other = Standing(state, life=False, shelved=False, outcome=None)
    assert Verb.SHELVE not in life.verbs()
    assert Verb.SHELVE in other.verbs()
    assert Verb.UNSHELVE not in other.verbs()
    with pytest.raises(NotAllowedError) as refusal:
        life.require(Verb.SHELVE)
    assert refusal.value.zh == "生命报警不能搁置"


@pytest.mark.parametrize("outcome", list(Outcome))
def test_what_ended_by_itself_is_not_opened_again(outcome: Outcome) -> None:
    """What a person closed or merged can be opened again; what cleared or was a drill cannot."""
    standing = Standing(Handling.CLOSED, life=True, shelved=False, outcome=outcome)
    assert (Verb.REOPEN in standing.verbs()) is (outcome not in (Outcome.CLEARED, Outcome.DRILL))


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        (Verb.ACKNOWLEDGE, {"by": ""}),
        (Verb.ACKNOWLEDGE, {"by": "  "}),
        (Verb.ACKNOWLEDGE, {"by": "carebell"}),
        (Verb.ACKNOWLEDGE, {"by": "王\n芳"}),
        (Verb.ACKNOWLEDGE, {"by": "王\ud800芳"}),
        (Verb.ACKNOWLEDGE, {"by": "\u202e芳王"}),
        (Verb.ACKNOWLEDGE, {"by": "王" * 101}),
        (Verb.ACKNOWLEDGE, {"to": "李强"}),
        (Verb.ACKNOWLEDGE, {"outcome": Outcome.TEST}),
        (Verb.ACKNOWLEDGE, {"outcome": Outcome.CLEARED}),
        (Verb.ACKNOWLEDGE, {"note": "a\x00b"}),
        (Verb.ACKNOWLEDGE, {"note": "一" * 1001}),
        (Verb.DISPATCH, {}),
        (Verb.DISPATCH, {"to": " "}),
        (Verb.DISPATCH, {"to": "李强", "outcome": Outcome.TEST}),
        (Verb.CLOSE, {}),
        (Verb.CLOSE, {"outcome": Outcome.CLEARED}),
        (Verb.CLOSE, {"outcome": Outcome.DRILL}),
        (Verb.CLOSE, {"outcome": Outcome.MERGED}),
        (Verb.CLOSE, {"outcome": Outcome.TEST, "to": "李强"}),
        (Verb.CLOSE, {"outcome": Outcome.TEST, "parent": 3}),
        (Verb.ASSIGN, {}),
        (Verb.NOTE, {}),
        (Verb.NOTE, {"note": " "}),
        (Verb.MERGE, {}),
        (Verb.MERGE, {"parent": 3, "outcome": Outcome.TEST}),
        (Verb.SHELVE, {}),
        (Verb.SHELVE, {"minutes": 0}),
        (Verb.SHELVE, {"minutes": 1441}),
        (Verb.ARRIVE, {"minutes": 5}),
        (Verb.REOPEN, {"explained": True}),
    ],
)
def test_an_order_that_no_state_could_make_right_is_refused(verb: Verb, said: dict[str, str]) -> None:
    """What is missing, out of place, too long or not plain text is refused before the database is asked."""
    with pytest.raises(BadOrderError) as refusal:
        Order(verb, **{"by": "王芳", **said})  # type: ignore[arg-type]  # outcomes are strings as well
    assert refusal.value.zh


def test_an_order_keeps_for_the_log_what_was_said() -> None:
    """The log gets whom, outcome and note, and no empty ones."""
    assert Order(Verb.ACKNOWLEDGE, "王芳").detail() == {}
    assert Order(Verb.DISPATCH, "王芳", to="李强").detail() == {"to": "李强"}
    closing = Order(Verb.CLOSE, "王芳", outcome=Outcome.FALL, note="送医院")
    assert closing.detail() == {"outcome": "fall", "note": "送医院"}


def test_a_person_may_close_with_every_outcome_but_carebells_own() -> None:
    """`cleared` is of what closes itself, `drill` of a drill's end, `merged` of merging."""
    assert set(OUTCOMES) == set(Outcome) - {Outcome.CLEARED, Outcome.DRILL, Outcome.MERGED}
