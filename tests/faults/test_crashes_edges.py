"""Compensation, webhooks, feeds, operators, questions to providers: whatever happens at their crash points, every
promise is kept (striking.py)."""

import signal
import threading

import pytest

from outbox.crash_points import Fault
from tests.faults.crash_store import CrashStore
from tests.faults.scenarios import SCENARIOS, Visit, drive
from tests.faults.striking import every_promise_is_kept, points

pytestmark = pytest.mark.timeout(400)


@points("edges")
def test_whatever_happens_there_every_promise_is_kept(
    crash_store: CrashStore, point: str, fault: Fault, hit: int
) -> None:
    every_promise_is_kept(crash_store, point, fault, hit)


@pytest.mark.parametrize(
    "command", [("shell", "-c", "from payments.bank_events import catch_up; catch_up()"), ("check_stripe",)]
)
def test_questions_beside_the_workers_have_a_point_too(crash_store: CrashStore, command: tuple[str, ...]) -> None:
    """The scheduler's, which needs an order first, and those of a person."""
    if not crash_store.sql("SELECT 1 FROM payments_payment LIMIT 1"):
        drive(Visit(crash_store, struck=threading.Event()), SCENARIOS["P1"], rounds=1)
    assert crash_store.manage(*command, CRASH_POINT="B1") == -signal.SIGKILL
