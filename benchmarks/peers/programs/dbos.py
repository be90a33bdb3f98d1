"""DBOS: a queue of workflows, up to 200 of them under way in each of two processes, polled every tenth of a second."""

import os
import time
from typing import Any
from urllib.parse import urlencode

from dbos import DBOS, DBOSClient
from psycopg.conninfo import conninfo_to_dict

from benchmarks.peers.programs import telling
from benchmarks.peers.programs.telling import Handled, Told, Work

LEFT = "SELECT FROM dbos.workflow_status WHERE status IN ('ENQUEUED', 'PENDING') LIMIT 1"
QUEUE = "noop"
VERSION = "1"
# Workflows that one process takes and has under way; seconds until it looks whether it may take more.
AT_ONCE = 200
INTERVAL = 0.1

handled = Handled()
times: dict[int, int] = {}


def noop(number: int) -> None:
    handled.one()
    times[number] = time.monotonic_ns()


def prepare(*, jobs: int) -> Work:
    def work() -> Told:
        _launch()
        client = _client()
        with client._sys_db.engine.begin() as transaction:
            for number in range(jobs):
                client.enqueue_in_transaction(transaction, _options(), number)
        client.destroy()
        return Told(items=jobs)

    return work


def drain(*, seconds: float) -> Work:
    def work() -> Told:
        _launch()
        return handled.drained(telling.emptied(LEFT, seconds=seconds, count=lambda: handled.count))

    return work


def listen(*, beats: int, seconds: float) -> Work:
    _launch()
    return lambda: telling.heard(times, beats=beats, seconds=seconds)


def publish(*, beats: int, shortest: float, longest: float, seed: int) -> Work:
    client = _client()
    return lambda: telling.beats(
        beats=beats,
        shortest=shortest,
        longest=longest,
        seed=seed,
        commit=lambda number: client.enqueue(_options(), number),
    )


def finish() -> None:
    DBOS.destroy()


def _launch() -> None:
    DBOS(
        config={
            "name": "noop",
            "system_database_url": _url(),
            "executor_id": str(os.getpid()),
            "application_version": VERSION,
            "log_level": "WARNING",
        }
    )
    DBOS.workflow(name="noop")(noop)
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=AT_ONCE, polling_interval_sec=INTERVAL)


def _client() -> Any:
    return DBOSClient(system_database_url=_url())


def _options() -> dict[str, str]:
    return {"workflow_name": "noop", "queue_name": QUEUE, "app_version": VERSION}


def _url() -> str:
    """As SQLAlchemy wants it: the folder of a socket stands among the options."""
    parts = conninfo_to_dict(telling.url())
    return f"postgresql+psycopg:///{parts.pop('dbname')}?{urlencode(parts)}"
