"""Celery on Redis: a worker of one prefork process beside the one that fetches. Tasks are acknowledged before they are
done, as is its default; 64 are fetched ahead, as its guide advises for many short ones; no results are kept."""

import os
from typing import Any

from celery import Celery
from redis import Redis

from benchmarks.peers.programs import telling
from benchmarks.peers.programs.telling import Forked, Told, Work

# Seconds.
STARTING = 30.0
# Tasks that a worker has fetched and not begun.
AHEAD = 64
URL = os.environ["BROKER_URL"]
app = Celery(
    "noop",
    broker=URL,
    fixups=[],  # the worker asks for nothing of Django
    task_ignore_result=True,
    worker_prefetch_multiplier=AHEAD,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
# What workers tell each other, and nobody asks for here.
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")

# The worker is forked from this process, and its own one from the worker.
handled = Forked()
_ready = Forked.context.Event()
_workers: list[Any] = []


def _handle(number: int) -> None:
    handled.one(number)


noop: Any = app.task(name="noop")(_handle)


def prepare(*, jobs: int) -> Work:
    def work() -> Told:
        with app.producer_pool.acquire(block=True) as producer:
            for number in range(jobs):
                noop.apply_async((number,), producer=producer)
        return Told(items=jobs)

    return work


def drain(*, seconds: float) -> Work:
    def work() -> Told:
        _start()
        session = Redis(unix_socket_path=URL.removeprefix("redis+socket://"))

        def is_left() -> bool:
            return bool(session.llen("celery") or session.hlen("unacked"))

        return handled.drained(telling.ended(is_left, seconds=seconds, count=lambda: handled.count))

    return work


def listen(*, beats: int, seconds: float) -> Work:
    _start()
    if not _ready.wait(STARTING):
        raise TimeoutError("The worker does not start.")
    return lambda: handled.heard(beats=beats, seconds=seconds)


def publish(*, beats: int, shortest: float, longest: float, seed: int) -> Work:
    app.connection_for_write().ensure_connection()
    return lambda: telling.beats(beats=beats, shortest=shortest, longest=longest, seed=seed, commit=noop.delay)


def finish() -> None:
    for each in _workers:
        each.terminate()  # it ends what it has begun
        each.join()


def _start() -> None:
    _workers.append(Forked.context.Process(target=_worker))
    _workers[0].start()


def _worker() -> None:
    from celery.signals import worker_ready

    worker_ready.connect(lambda **_: _ready.set(), weak=False)
    os.dup2(2, 1)  # its banner is no answer
    app.worker_main(
        ["worker", "--pool=prefork", "--concurrency=1", "--loglevel=WARNING", f"-n{os.getpid()}@%h", *QUIET]
    )
