"""A scheduler whose processes are alive and do nothing: it is noticed, said, and started again."""

import datetime as dt
import os
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from django.db.models.functions import Now

from outbox.loops import beat
from outbox.models import Heartbeat
from outbox.pipeline import SWEEP, survey
from outbox.purging import forget_dead_processes
from shop.local.guardian import is_running
from shop.local.store import scheduler_beats
from shop.local.supervisor import Program, Supervisor
from tests.database_url import database_url
from tests.local.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parents[2]
# Seconds; the real ones are minutes. The scheduler's first sweep comes half a minute after its start.
PATIENCE = 2.0


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, reports: list[str]) -> Iterator[Supervisor]:
    with Supervisor(logs=tmp_path / "logs", report=reports.append, grace=10.0) as started:
        yield started


def descendants(pid: int) -> list[int]:
    """By the kernel's own account, youngest generation last."""
    try:
        direct = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [each for child in map(int, direct) for each in (child, *descendants(child))]


def test_a_cluster_whose_children_are_stopped_is_started_again(
    supervisor: Supervisor, reports: list[str], tmp_path: Path
) -> None:
    supervisor.start(
        Program(
            name="scheduler",
            command=[sys.executable, "manage.py", "qcluster"],
            environment={**os.environ, "DATABASE_URL": database_url()},
            folder=ROOT,
            healthy=partial(scheduler_beats, database_url(), patience=PATIENCE),
            settle=PATIENCE,
        )
    )
    leader = supervisor.pid("scheduler")
    assert leader is not None
    wait_until(lambda: len(descendants(leader)) >= 4)  # its guard, pusher, monitor and workers
    children = descendants(leader)
    beat(SWEEP)  # a sweep has just begun
    for child in children:
        os.kill(child, signal.SIGSTOP)
    assert is_running(leader), "the process that a simple watch would look at is alive"
    supervisor.run_until(lambda: supervisor.pid("scheduler") not in (leader, None))
    assert reports[0] == "scheduler hangs and is killed"
    wait_until(lambda: not any(map(is_running, [leader, *children])))


def test_a_cluster_that_sweeps_is_left_alone() -> None:
    assert not scheduler_beats(database_url()), "nobody has ever swept"
    beat(SWEEP)
    assert scheduler_beats(database_url())
    assert scheduler_beats("postgresql://store@127.0.0.1:9/store"), "a database that is away is not its fault"


def overdue(loop: str, *, minutes: int, process: str = "elsewhere:1") -> None:
    Heartbeat.objects.create(loop=loop, process=process, beat_at=Now() - dt.timedelta(minutes=minutes))


def test_pipeline_status_says_who_hangs() -> None:
    assert survey().warnings == ["No scheduler has run its sweep for a day: start `manage.py qcluster`."]
    overdue(SWEEP, minutes=4)
    overdue("payments", minutes=3)
    overdue("relay", minutes=3)
    beat("relay")
    payments, sweep = survey().warnings
    assert payments.startswith("The loop payments last beat 180 s ago in elsewhere:1: it hangs or was ended")
    assert sweep.startswith("The scheduler's sweep last beat 240 s ago")


def test_a_sweep_between_two_beats_is_not_late() -> None:
    overdue(SWEEP, minutes=2)
    assert survey().warnings == []


def test_those_who_died_long_ago_are_forgotten() -> None:
    overdue("payments", minutes=60 * 25)
    overdue("payments", minutes=60 * 23, process="elsewhere:2")
    assert forget_dead_processes() == 1
    assert Heartbeat.objects.get().process == "elsewhere:2"
