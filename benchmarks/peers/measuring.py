"""Two numbers of each peer: how fast it drains jobs that do nothing, and how soon an idle one hears of a job.

A peer that cannot be installed, started or trusted is missing, with the reason; that is no failure of the run.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.children import ChildFailed, Measured, Task, run
from benchmarks.measurements import Measurement, Result, Sizes, WrongResult
from benchmarks.meters import process_cpu
from benchmarks.peers.brokers import Broker
from benchmarks.peers.catalogue import PEERS, Peer
from benchmarks.peers.installing import MODULES, Missing
from benchmarks.server import Server

# Fewer jobs prove nothing.
FEWEST = 50
# Seconds in which the longest backlog is put into a queue, that a process may take to stop, and for all latencies.
PREPARING = 180.0
STOPPING = 60.0
LISTENING = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scene:
    """A peer's own database, and its broker where it has one."""

    peer: Peer
    server: Server
    database: str
    broker: Broker | None

    def run(self, *tasks: Task, patience: float = LISTENING) -> Measured:
        """The server's processors' time is that of PostgreSQL and of the broker."""
        settings = {"NODE_PATH": str(MODULES)} | ({"BROKER_URL": self.broker.url} if self.broker else {})
        before = process_cpu(self.broker.process) if self.broker else 0.0
        measured = run(self.server, self.database, *tasks, patience=patience, settings=settings)
        used = process_cpu(self.broker.process) - before if self.broker else 0.0
        return replace(measured, server_cpu=None if measured.server_cpu is None else measured.server_cpu + used)

    def expect_done(self, *, jobs: int, handled: int) -> None:
        left = self._counted(self.peer.left, 0) + (self.broker.left() if self.broker else 0)
        done = self._counted(self.peer.done, jobs)
        if (handled, left, done) != (jobs, 0, jobs):
            raise WrongResult(f"of {jobs} jobs {handled} were handled, {left} are left and {done} done")

    def _counted(self, query: str, without: int) -> int:
        if not query:
            return without
        with self.server.connect(self.database) as session:
            row = session.execute(query.encode()).fetchone()
        return int(row[0]) if row else -1


def remove(server: Server) -> None:
    """The prepared databases are gone."""
    for peer in PEERS:
        for full in (False, True):
            name = _template(peer, full=full)
            server.drop(name)
            shutil.rmtree(server.folder / name, ignore_errors=True)


def drain(peer: Peer, server: Server, sizes: Sizes, sweep: int) -> Result:
    try:
        jobs = max(FEWEST, round(peer.jobs * sizes.peers))
        task = Task("drain", {"seconds": sizes.patience}, peer.command())
        with _scene(peer, server, jobs) as scene:
            measured = scene.run(*[task] * peer.processes, patience=sizes.patience + STOPPING)
            if measured.finished:
                scene.expect_done(jobs=jobs, handled=measured.items)
    except (Missing, ChildFailed, WrongResult) as error:
        return _missing(error)
    return Result(measured=measured)


def latency(peer: Peer, server: Server, sizes: Sizes, sweep: int) -> Result:
    shortest, longest = sizes.pauses
    beats = sizes.peer_beats
    try:
        command = peer.command()
        listen = {"beats": beats, "seconds": beats * longest + sizes.patience}
        publish = {"beats": beats, "shortest": shortest, "longest": longest, "seed": sweep}
        with _scene(peer, server, 0) as scene:
            measured = scene.run(Task("listen", listen, command), Task("publish", publish, command))
        heard, committed = measured.notes
        if not len(heard) == len(committed) == beats:
            raise WrongResult(f"of {beats} jobs {len(committed)} were committed and {len(heard)} heard")
    except (Missing, ChildFailed, WrongResult) as error:
        return _missing(error)
    once = Measured(
        items=beats, seconds=measured.seconds, client_cpu=measured.client_cpu, server_cpu=measured.server_cpu
    )
    return Result(measured=once, latencies=tuple((heard[n] - at) / 1e6 for n, at in committed.items()))


@contextmanager
def _scene(peer: Peer, server: Server, jobs: int) -> Iterator[_Scene]:
    """A copy of what was prepared with so many jobs."""
    prepared = _prepared(peer, server, jobs)
    with server.copy(prepared) as database:
        folder = server.folder / database
        if peer.broker:
            shutil.copytree(server.folder / prepared, folder)
        try:
            with _served(peer, folder) as broker:
                yield _Scene(peer=peer, server=server, database=database, broker=broker)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _served(peer: Peer, folder: Path) -> Iterator[Broker | None]:
    if peer.broker is None:
        yield None
    else:
        folder.mkdir(exist_ok=True)
        with peer.broker(folder) as broker:
            yield broker


def _prepared(peer: Peer, server: Server, jobs: int) -> str:
    """The name of a database to copy, and of a folder with the broker's data: the peer's tables, with so many jobs;
    made when it is wanted first."""
    name = _template(peer, full=jobs > 0)
    if not server.has(name):
        server.create(name)
        try:
            with _served(peer, server.folder / name) as broker:
                scene = _Scene(peer=peer, server=server, database=name, broker=broker)
                scene.run(Task("prepare", {"jobs": jobs}, peer.command()), patience=PREPARING)
        except BaseException:
            server.drop(name)
            raise
        with server.connect(name) as session:
            session.execute("VACUUM ANALYZE")
    return name


def _template(peer: Peer, *, full: bool) -> str:
    return f"{peer.name.replace('-', '_')}_{'full' if full else 'idle'}"


def _missing(error: Exception) -> Result:
    *_, last = str(error).splitlines()
    return Result(measured=Measured(items=0, seconds=0.0, client_cpu=0.0, server_cpu=None), missing=last)


ALL = tuple(
    Measurement(
        name=f"peer-{peer.name}",
        what=f"{peer.name} {peer.version}: {peer.settings}",
        items="jobs",
        make=partial(drain, peer),
        kind="peer",
        ours="read-two",
    )
    for peer in PEERS
) + tuple(
    Measurement(
        name=f"latency-{peer.name}",
        what=f"{peer.name} {peer.version}, commit to handler, idle",
        items="jobs",
        make=partial(latency, peer),
        kind="peer",
        ours="latency-bell",
    )
    for peer in PEERS
)
