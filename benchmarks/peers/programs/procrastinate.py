"""procrastinate: asynchronous jobs, 10 at a time in each process; workers hear of new jobs by LISTEN."""

import asyncio
import logging
import threading
import time

import procrastinate

from benchmarks.peers.programs import telling
from benchmarks.peers.programs.telling import Handled, Told, Work

LEFT = "SELECT FROM procrastinate_jobs WHERE status IN ('todo', 'doing') LIMIT 1"
# Jobs that are under way at the same time in one process: each needs a connection only between its two statements.
AT_ONCE = 10
# How many are put into the queue by one statement.
BATCH = 1000

logging.getLogger("procrastinate").setLevel(logging.WARNING)
app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=telling.url(), max_size=AT_ONCE + 2))
handled = Handled()
times: dict[int, int] = {}


async def noop(number: int) -> None:
    handled.one()
    times[number] = time.monotonic_ns()


task = app.task(name="noop")(noop)


def prepare(*, jobs: int) -> Work:
    def work() -> Told:
        synchronous = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=telling.url()))
        with synchronous.open():
            synchronous.schema_manager.apply_schema()
            for start in range(0, jobs, BATCH):
                numbers = range(start, min(start + BATCH, jobs))
                synchronous.configure_task("noop").batch_defer(*({"number": number} for number in numbers))
        return Told(items=jobs)

    return work


def drain(*, seconds: float) -> Work:
    """The worker ends by itself when it finds nothing more; the other one's last jobs are waited for."""

    def work() -> Told:
        until = time.monotonic() + seconds
        asyncio.run(_worked(seconds))
        return handled.drained(telling.emptied(LEFT, seconds=until - time.monotonic(), count=lambda: handled.count))

    return work


async def _worked(seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds), app.open_async():
            await app.run_worker_async(concurrency=AT_ONCE, wait=False, install_signal_handlers=False)
    except TimeoutError:
        pass


def listen(*, beats: int, seconds: float) -> Work:
    ready = threading.Event()
    threading.Thread(target=lambda: asyncio.run(_listened(ready)), daemon=True).start()
    ready.wait()
    return lambda: telling.heard(times, beats=beats, seconds=seconds)


async def _listened(ready: threading.Event) -> None:
    async with app.open_async():
        asyncio.get_running_loop().call_later(1.0, ready.set)  # it does not say when it listens
        await app.run_worker_async(concurrency=AT_ONCE, install_signal_handlers=False)


def publish(*, beats: int, shortest: float, longest: float, seed: int) -> Work:
    synchronous = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=telling.url()))
    synchronous.open()
    deferrer = synchronous.configure_task("noop")
    return lambda: telling.beats(
        beats=beats,
        shortest=shortest,
        longest=longest,
        seed=seed,
        commit=lambda number: deferrer.defer(number=number),
    )
