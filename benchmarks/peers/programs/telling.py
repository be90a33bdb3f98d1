"""What all programs in Python share: the words to `benchmarks.children`, the count of jobs, when a queue is empty."""

import json
import multiprocessing
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

# Seconds between two looks at whether jobs are still being done.
TICK = 0.01
# Of beats that a queue is asked for when it is idle.
MOST_BEATS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """`began` and `ended` are the machine's monotonic seconds; None: those of the whole work."""

    items: int
    finished: bool = True
    began: float | None = None
    ended: float | None = None
    notes: dict[str, int] = field(default_factory=dict)


Work = Callable[[], Told]


@dataclass(slots=True)
class Handled:
    """Jobs that this process was handed so far, and when the first one was: starting is no part of a rate."""

    count: int = 0
    first: float | None = None

    def one(self) -> None:
        if self.first is None:
            self.first = time.monotonic()
        self.count += 1

    def drained(self, ended: float | None) -> Told:
        """`ended` is None where the queue was not empty in time."""
        return Told(items=self.count, finished=ended is not None, began=self.first or ended, ended=ended)


class Forked:
    """The same where processes do the jobs that are forked from this one, with the time of each beat: they share it."""

    context = multiprocessing.get_context("fork")

    def __init__(self) -> None:
        self._count = self.context.Value("q", 0)
        self._first = self.context.Value("d", 0.0)
        self._times = self.context.Array("q", MOST_BEATS)

    @property
    def count(self) -> int:
        return int(self._count.value)

    def one(self, number: int) -> None:
        with self._count.get_lock():
            self._first.value = self._first.value or time.monotonic()
            self._count.value += 1
        if number < MOST_BEATS:
            self._times[number] = time.monotonic_ns()

    def drained(self, ended: float | None) -> Told:
        return Handled(count=self.count, first=self._first.value or None).drained(ended)

    def heard(self, *, beats: int, seconds: float) -> Told:
        """Wait as `heard` does."""
        until = time.monotonic() + seconds
        while self.count < beats and time.monotonic() < until:
            time.sleep(TICK)
        return heard({number: at for number, at in enumerate(self._times[:beats]) if at}, beats=beats, seconds=0.0)


def url() -> str:
    return os.environ["DATABASE_URL"]


def emptied(query: str, *, seconds: float, count: Callable[[], int]) -> float | None:
    """When the query found nothing left, as `ended` says."""
    with psycopg.connect(url(), autocommit=True) as session:
        return ended(lambda: session.execute(query.encode()).fetchone() is not None, seconds=seconds, count=count)


def ended(is_left: Callable[[], bool], *, seconds: float, count: Callable[[], int]) -> float | None:
    """When nothing was left, in monotonic seconds; None if that took longer.

    It asks only while `count` does not move, so that asking does not slow down what is measured.
    """
    until = time.monotonic() + seconds
    seen = -1
    while (now := time.monotonic()) < until:
        if count() == seen and not is_left():
            return now
        seen = count()
        time.sleep(TICK)
    return None


def beats(*, beats: int, shortest: float, longest: float, seed: int, commit: Callable[[int], object]) -> Told:
    """`commit` returns once the job of that number is committed."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    committed: dict[str, int] = {}
    for number in range(beats):
        time.sleep(dice.uniform(shortest, longest))
        commit(number)
        committed[str(number)] = time.monotonic_ns()
    return Told(items=beats, notes=committed)


def heard(times: Mapping[int, int], *, beats: int, seconds: float) -> Told:
    """Wait until `times` has all, or so long."""
    until = time.monotonic() + seconds
    while len(times) < beats and time.monotonic() < until:
        time.sleep(TICK)
    return Told(items=len(times), finished=len(times) >= beats, notes={str(n): at for n, at in times.items()})


def run(work: Work, *, finish: Callable[[], None]) -> None:
    """Ends the process. `finish` stops what the task has started; the time of it is not the work's."""
    _say("ready")
    if sys.stdin.readline() != "go\n":
        sys.exit(1)  # whoever measures is gone
    cpu, began = _cpu(), time.monotonic()
    told = work()
    ended = time.monotonic()
    finish()
    _say(
        json.dumps(
            {
                "items": told.items,
                "finished": told.finished,
                "notes": told.notes,
                "began": told.began or began,
                "ended": told.ended or ended,
                "cpu": _cpu() - cpu,
            }
        )
    )
    sys.exit(0)


def _say(line: str) -> None:
    # Not print: a peer may have put something in the place of sys.stdout.
    os.write(1, f"{line}\n".encode())


def _cpu() -> float:
    """Seconds, with those of processes that were started and have ended."""
    both: list[Any] = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return float(sum(used.ru_utime + used.ru_stime for used in both))
