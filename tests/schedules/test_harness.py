"""The explorer itself: it finds a hole that is really there, and what it finds can be played again."""

import queue
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection, transaction

from outbox.crash_points import crash_point, watching
from outbox.models import FeedToken
from tests.schedules.actors import Actor, Happened, Order, Report
from tests.schedules.execution import stop_at

PROJECT = Path(__file__).resolve().parents[2]
FORGOTTEN = "S3: charged at the bank, and canceled here"


def explorer(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.schedules", *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=110)


@pytest.mark.slow
def test_without_canceling_it_finds_the_hole_and_plays_it_again() -> None:
    """A confirm succeeds late, the operator's cancel was faster: charged, and cancelled for ever."""
    found = explorer("--config", "cancel", "--without", "canceling", "--seconds", "60")
    assert found.returncode == 1, found.stderr
    assert FORGOTTEN in found.stdout
    again = re.search(r"Again: python -m tests\.schedules (.*)", found.stdout)
    assert again is not None

    arguments = shlex.split(again[1])
    replayed = explorer(*arguments)
    assert replayed.returncode == 1, replayed.stderr
    assert FORGOTTEN in replayed.stdout

    at = arguments.index("--without")
    with_it = explorer(*arguments[:at], *arguments[at + 2 :])
    assert with_it.returncode == 0, with_it.stdout + with_it.stderr


@pytest.mark.slow
def test_without_reading_back_it_finds_the_hole_at_the_end() -> None:
    """The bank refuses the cancel, as the intent has succeeded, and nobody reads that."""
    found = explorer("--config", "cancel", "--without", "reading-back", "--seconds", "60")
    assert found.returncode == 1, found.stderr
    assert FORGOTTEN in found.stdout
    assert "Q1: charged at the bank, and canceled here" in found.stdout


# --- actors -----------------------------------------------------------------------------------------


class Alone:
    """One actor and its director."""

    def __init__(self) -> None:
        self._reports: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self.actor = Actor("somebody", self._reports)

    def report(self) -> tuple[Happened, str]:
        report = self._reports.get(timeout=20)
        return report.happened, report.detail


@pytest.fixture
def alone(transactional_db: None) -> Iterator[Alone]:
    made = Alone()
    with watching(stop_at):
        yield made
    made.actor.close()


def _write() -> None:
    FeedToken.objects.create(feed="warehouse", name="an actor", digest="d")


def test_of_a_killed_actor_nothing_stays_and_nothing_follows(alone: Alone) -> None:
    def program() -> None:
        try:
            with transaction.atomic():
                _write()
                crash_point("R1")
        finally:
            _write()

    alone.actor.begin(program)
    assert alone.report() == (Happened.POINT, "R1")
    alone.actor.tell(Order.DIE)
    assert alone.report() == (Happened.DEAD, "")
    assert not FeedToken.objects.exists()


def test_an_actor_goes_on_where_it_stopped(alone: Alone) -> None:
    def program() -> None:
        with transaction.atomic():
            crash_point("R1")
            _write()

    alone.actor.begin(program)
    assert alone.report() == (Happened.POINT, "R1")
    assert not FeedToken.objects.exists()
    alone.actor.tell(Order.GO)
    assert alone.report() == (Happened.ENDED, "")
    assert FeedToken.objects.count() == 1


def test_what_an_actor_knows_is_what_it_was_told(alone: Alone) -> None:
    def told(what: int) -> str:
        def program() -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT %s", [what])

        alone.actor.begin(program)
        assert alone.report() == (Happened.ENDED, "")
        return alone.actor.digest

    assert told(1) == told(1)
    assert told(1) != told(2)


def test_who_waits_for_a_lock_stops_when_it_is_given(alone: Alone) -> None:
    _write()

    def program() -> None:
        with transaction.atomic():
            FeedToken.objects.select_for_update().get()
        crash_point("A2")

    with transaction.atomic():
        FeedToken.objects.select_for_update().get()
        alone.actor.begin(program)
        with connection.cursor() as cursor:
            while True:
                cursor.execute("SELECT cardinality(pg_blocking_pids(%s))", [alone.actor.backend])
                if cursor.fetchone()[0]:
                    break
        alone.actor.has_baton = False
    assert alone.report() == (Happened.GRANTED, "")
    alone.actor.tell(Order.GO)
    assert alone.report() == (Happened.POINT, "A2")
    alone.actor.tell(Order.ABANDON)
    assert alone.report() == (Happened.ENDED, "")
