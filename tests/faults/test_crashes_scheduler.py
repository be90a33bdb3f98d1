"""The scheduler alone, while PostgreSQL lets nobody in: its sweep goes on without a hand."""

import os
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from shop.local.store import scheduler_beats
from shop.local.supervisor import Program, Supervisor
from tests.faults.conftest import ALL
from tests.faults.crash_store import PATIENCE, CrashStore
from tests.faults.database_faults import no_connection_left
from tests.faults.scenarios import Visit
from tests.faults.striking import check_promises
from tests.web_process import ROOT

pytestmark = [pytest.mark.timeout(600), pytest.mark.skipif(not ALL, reason="a part of make crash-points")]

# Seconds: the scheduler looks for work half a minute after its start, and then every half minute.
LOOK = 35.0


def test_the_sweep_goes_on_once_somebody_is_let_in(crash_store: CrashStore, tmp_path: Path) -> None:
    store, visit = crash_store, Visit(crash_store, struck=threading.Event())
    store.end_worker()
    environment = {**os.environ, **store.environment_of(store.worker_database), "CRASH_BATON": ""}
    with Supervisor(logs=tmp_path, report=print, grace=10.0) as supervisor, visit.browsing():
        supervisor.start(
            Program(
                name="scheduler",
                command=[sys.executable, "manage.py", "qcluster"],
                environment=environment,
                folder=ROOT,
                healthy=partial(scheduler_beats, environment["DATABASE_URL"]),
            )
        )
        order = visit.order()

        def refused() -> bool:
            supervisor.tend()
            return "too many connections" in supervisor.log("scheduler").read_text()

        def swept() -> bool:
            supervisor.tend()
            return visit.status(order) == "accepted"

        with no_connection_left(store):
            store.wait_until(refused, "the scheduler never asked", seconds=2 * LOOK)
        store.wait_until(swept, "no sweep afterwards", seconds=PATIENCE + 2 * LOOK)
    store.start_worker()
    store.wait_quiet(seconds=PATIENCE)
    assert store.violations() == []
    check_promises(store, visit)
