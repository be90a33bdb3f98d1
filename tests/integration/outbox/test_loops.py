"""When a loop looks again, and when it sleeps."""

import pytest

from outbox import registry
from outbox.doorbell import Doorbell, Woken
from outbox.loops import Loop


def test_a_loop_sleeps_after_a_batch_that_was_not_full(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    batches = iter([3, 3, 2])

    def run_once() -> int:
        done.append("batch")
        return next(batches)

    loop = Loop(
        registry.LoopSpec(name="work", group="work", make=lambda: registry.Batches(run_once), idle_seconds=60, full=3)
    )
    wait = Doorbell.wait

    def sleep(bell: Doorbell, seconds: float) -> Woken:
        done.append("sleep")
        loop.stop()
        return wait(bell, seconds)

    monkeypatch.setattr(Doorbell, "wait", sleep)
    loop.run()
    assert done == ["batch", "batch", "batch", "sleep"]
    assert loop.handled == 8
