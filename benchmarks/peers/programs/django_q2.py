"""django-q2 with the ORM as its broker: a cluster of two workers; 100 jobs are fetched at once, no successes kept."""

import logging
from typing import Any

import django
from django.core.management import call_command

from benchmarks.peers.programs import telling
from benchmarks.peers.programs.telling import Forked, Told, Work

LEFT = "SELECT FROM django_q_ormq LIMIT 1"
JOB = "benchmarks.peers.programs.django_q2.noop"

logging.getLogger("django-q").setLevel(logging.WARNING)
django.setup()

# Workers are forked from the cluster's process.
handled = Forked()
_clusters: list[Any] = []


def noop(number: int) -> None:
    handled.one(number)


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
        return handled.drained(telling.emptied(LEFT, seconds=seconds, count=lambda: handled.count))

    return work


def listen(*, beats: int, seconds: float) -> Work:
    _start()
    return lambda: handled.heard(beats=beats, seconds=seconds)


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
