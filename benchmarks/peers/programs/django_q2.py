"""django-q2 with the ORM as its broker: a cluster of two workers; 100 jobs are fetched at once, no successes kept."""

import logging
import multiprocessing
import time
from typing import Any

import django
from django.core.management import call_command

from benchmarks.peers.programs import telling
from benchmarks.peers.programs.telling import Told, Work

LEFT = "SELECT FROM django_q_ormq LIMIT 1"
MOST_BEATS = 10_000
JOB = "benchmarks.peers.programs.django_q2.noop"

logging.getLogger("django-q").setLevel(logging.WARNING)
django.setup()

# Workers are forked from the cluster's process: what they count is shared with it.
_context = multiprocessing.get_context("fork")
_count = _context.Value("q", 0)
_first = _context.Value("d", 0.0)
_times = _context.Array("q", MOST_BEATS)
_clusters: list[Any] = []


def noop(number: int) -> None:
    with _count.get_lock():
        _first.value = _first.value or time.monotonic()
        _count.value += 1
    if number < MOST_BEATS:
        _times[number] = time.monotonic_ns()


def prepare(*, jobs: int) -> Work:
    def work() -> Told:
        from django.db import transaction
        from django_q.tasks import async_task

        call_command("migrate", verbosity=0)
        with transaction.atomic():
            for number in range(jobs):
                async_task(JOB, number)
        return Told(items=jobs)

    return work


def drain(*, seconds: float) -> Work:
    def work() -> Told:
        _start()
        ended = telling.emptied(LEFT, seconds=seconds, count=lambda: int(_count.value))
        return Told(items=_count.value, finished=ended is not None, began=_first.value or ended, ended=ended)

    return work


def listen(*, beats: int, seconds: float) -> Work:
    _start()

    def work() -> Told:
        until = time.monotonic() + seconds
        while _count.value < beats and time.monotonic() < until:
            time.sleep(telling.TICK)
        return telling.heard({number: at for number, at in enumerate(_times[:beats]) if at}, beats=beats, seconds=0.0)

    return work


def publish(*, beats: int, shortest: float, longest: float, seed: int) -> Work:
    from django.db import connection
    from django_q.tasks import async_task

    connection.ensure_connection()
    return lambda: telling.beats(
        beats=beats, shortest=shortest, longest=longest, seed=seed, commit=lambda number: async_task(JOB, number)
    )


def finish() -> None:
    for cluster in _clusters:
        cluster.stop()


def _start() -> None:
    from django.db import connection
    from django_q.cluster import Cluster

    connection.close()  # not shared with those who are forked
    _clusters.append(Cluster())
    _clusters[0].start()
