"""The plan of a chaos run: the same for the same seed, and as bad as it says."""

import pytest

from tests.chaos.plan import CALL_FAULTS, DATABASE_STOPS, VICTIMS, WEBHOOK_FAULTS, plan


def test_a_seed_is_a_replay() -> None:
    assert plan(seed=7, duration=60) == plan(seed=7, duration=60)
    assert plan(seed=7, duration=60) != plan(seed=8, duration=60)


@pytest.mark.parametrize("seed", range(20))
def test_a_minute_is_bad_enough(seed: int) -> None:
    acts = plan(seed=seed, duration=60)
    assert sum(act.kind == "kill" for act in acts) >= 50
    assert sum(act.kind == "stop" for act in acts) == DATABASE_STOPS == 5
    assert {act.who for act in acts if act.kind == "kill"} == set(VICTIMS), "somebody is spared"
    assert sum(act.kind == "weather" for act in acts) >= 20
    assert [act.at for act in acts] == sorted(act.at for act in acts)


def test_every_fault_comes() -> None:
    rules = [rule for seed in range(20) for act in plan(seed=seed, duration=60) for rule in act.rules]
    assert {rule["kind"] for rule in rules} == {*CALL_FAULTS, *WEBHOOK_FAULTS, "down"}
