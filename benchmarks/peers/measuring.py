"""Two numbers of each peer: how fast it drains jobs that do nothing, and how soon an idle one hears of a job.

A peer that cannot be installed, started or trusted is missing, with the reason; that is no failure of the run.
"""

from functools import partial

from benchmarks.children import ChildFailed, Measured, Task, run
from benchmarks.measurements import Measurement, Result, Sizes, WrongResult
from benchmarks.peers.catalogue import PEERS, Peer
from benchmarks.peers.installing import MODULES, Missing
from benchmarks.server import Server

# Fewer jobs prove nothing.
FEWEST = 50
# Seconds in which the longest backlog is put into a queue, and that a process may take to stop.
PREPARING = 180.0
STOPPING = 60.0


def remove(server: Server) -> None:
    """The prepared databases are gone."""
    for peer in PEERS:
        for full in (False, True):
            server.drop(_template(peer, full=full))


def drain(peer: Peer, server: Server, sizes: Sizes, sweep: int) -> Result:
    try:
        jobs = max(FEWEST, round(peer.jobs * sizes.peers))
        task = Task("drain", {"seconds": sizes.patience}, peer.command())
        with server.copy(_prepared(peer, server, jobs)) as database:
            measured = run(
                server,
                database,
                *[task] * peer.processes,
                patience=sizes.patience + STOPPING,
                settings={"NODE_PATH": str(MODULES)},
            )
            if measured.finished:
                _expect_done(peer, server, database, jobs=jobs, handled=measured.items)
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
        with server.copy(_prepared(peer, server, 0)) as database:
            measured = run(
                server,
                database,
                Task("listen", listen, command),
                Task("publish", publish, command),
                settings={"NODE_PATH": str(MODULES)},
            )
        heard, committed = measured.notes
        if not len(heard) == len(committed) == beats:
            raise WrongResult(f"of {beats} jobs {len(committed)} were committed and {len(heard)} heard")
    except (Missing, ChildFailed, WrongResult) as error:
        return _missing(error)
    once = Measured(
        items=beats, seconds=measured.seconds, client_cpu=measured.client_cpu, server_cpu=measured.server_cpu
    )
    return Result(measured=once, latencies=tuple((heard[n] - at) / 1e6 for n, at in committed.items()))


def _prepared(peer: Peer, server: Server, jobs: int) -> str:
    """The name of a database to copy: the peer's tables, with so many jobs; made when it is wanted first."""
    name = _template(peer, full=jobs > 0)
    if not server.has(name):
        server.create(name)
        try:
            task = Task("prepare", {"jobs": jobs}, peer.command())
            run(server, name, task, patience=PREPARING, settings={"NODE_PATH": str(MODULES)})
        except BaseException:
            server.drop(name)
            raise
        with server.connect(name) as session:
            session.execute("VACUUM ANALYZE")
    return name


def _template(peer: Peer, *, full: bool) -> str:
    return f"{peer.name.replace('-', '_')}_{'full' if full else 'idle'}"


def _expect_done(peer: Peer, server: Server, database: str, *, jobs: int, handled: int) -> None:
    with server.connect(database) as session:
        left = session.execute(peer.left.encode()).fetchone() or (-1,)
        done = (session.execute(peer.done.encode()).fetchone() or (-1,)) if peer.done else (jobs,)
    if (handled, left[0], done[0]) != (jobs, 0, jobs):
        raise WrongResult(f"of {jobs} jobs {handled} were handled, {left[0]} are left and {done[0]} done")


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
