"""The log, mails and screenings: whatever happens at their crash points, every promise is
kept (striking.py)."""

import pytest

from outbox.crash_points import Fault
from tests.faults.crash_store import CrashStore
from tests.faults.striking import every_promise_is_kept, points

pytestmark = pytest.mark.timeout(400)


@points("log and mails")
def test_whatever_happens_there_every_promise_is_kept(
    crash_store: CrashStore, point: str, fault: Fault, hit: int
) -> None:
    every_promise_is_kept(crash_store, point, fault, hit)
