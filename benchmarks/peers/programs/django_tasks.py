"""django-tasks-db: two `db_worker` processes, each with one job at a time, as it knows nothing else."""

import os
import threading
import time
from typing import Any

import django
import django_tasks
from django.core.management import call_command

from benchmarks.peers.programs import telling
from benchmarks.peers.programs.telling import Handled, Told, Work

LEFT = "SELECT FROM django_tasks_database_dbtaskresult WHERE status IN ('READY', 'RUNNING') LIMIT 1"
# Seconds until an idle worker asks again.
INTERVAL = 0.05

django.setup()
handled = Handled()
times: dict[int, int] = {}


def _handle(number: int) -> None:
    handled.one()
    times[number] = time.monotonic_ns()


_handle.__qualname__ = "noop"  # a worker finds the task by the name of its function
noop: Any = django_tasks.task()(_handle)


def prepare(*, jobs: int) -> Work:
    def work() -> Told:
        from django.db import transaction

        call_command("migrate", verbosity=0)
        with transaction.atomic():
            for number in range(jobs):
                noop.enqueue(number)
        return Told(items=jobs)

    return work


def drain(*, seconds: float) -> Work:
    """The worker ends by itself when it finds nothing more; the other one's last job is waited for."""
    worker = _worker(batch=True)
    until = threading.Timer(seconds, setattr, [worker, "running", False])
    until.daemon = True

    def work() -> Told:
        begun = time.monotonic()
        until.start()
        worker.run()
        left = seconds - (time.monotonic() - begun)
        return handled.drained(telling.emptied(LEFT, seconds=left, count=lambda: handled.count))

    return work


def listen(*, beats: int, seconds: float) -> Work:
    threading.Thread(target=_worker(batch=False).run, daemon=True).start()
    return lambda: telling.heard(times, beats=beats, seconds=seconds)


def publish(*, beats: int, shortest: float, longest: float, seed: int) -> Work:
    from django.db import connection

    connection.ensure_connection()
    return lambda: telling.beats(beats=beats, shortest=shortest, longest=longest, seed=seed, commit=noop.enqueue)


def _worker(*, batch: bool) -> Any:
    from django_tasks_db.management.commands.db_worker import Worker

    return Worker(
        queue_names=["default"],
        interval=INTERVAL,
        batch=batch,
        backend_name="default",
        startup_delay=False,
        max_tasks=None,
        worker_id=str(os.getpid()),
        excluded_queue_names=[],
    )
