"""The soak: a round follows from its seed, and one that is wrong says how to see it again."""

import pytest

from device_sims.load import Load
from ops.parts import Database, find_mosquitto
from tests.conftest import skip_service
from tests.fault.faults import FAULTS
from tests.fault.soak import Plan, plan, soak
from tests.fault.traffic import Published


def test_a_seed_gives_the_same_round() -> None:
    """Load, faults and instants are a function of the seed; in many rounds every fault is met."""
    rounds = [plan(seed) for seed in range(200)]
    assert rounds == [plan(seed) for seed in range(200)]
    assert len({str(each) for each in rounds}) == 200
    assert {step.fault for each in rounds for step in each.steps} == set(FAULTS)


async def test_a_round_that_is_well_ends_well(
    timescale_server: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    """One real round ends with 0; seed, load and faults were printed."""
    if not find_mosquitto():
        skip_service("a mosquitto of one's own", "not installed")
    assert await soak(1, 6, timescale_server) == 0
    said = capsys.readouterr().out
    assert f"round 1/1, seed 6: {plan(6)}" in said
    assert "nothing lost, nothing double" in said


@pytest.mark.parametrize("ends", ["wrong", "raises"])
async def test_a_round_that_is_wrong_says_how_to_see_it_again(
    ends: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second of three rounds is wrong: no third one, exit 1, and its seed."""

    async def run_round(what: Plan, _: Database) -> tuple[list[str], Published]:
        assert isinstance(what.load, Load)
        if what.seed == 8 and ends == "raises":
            raise OSError("the floor is wet")
        return ["1 lost"] * (what.seed == 8), Published()

    monkeypatch.setattr("tests.fault.soak.run_round", run_round)
    assert await soak(3, 7, Database("", "timescale")) == 1
    said = capsys.readouterr().out
    assert said.rstrip().endswith("make soak ROUNDS=1 SEED=8")
    assert {"wrong": "1 lost", "raises": "the floor is wet"}[ends] in said
    assert "round 3/3" not in said
