"""Whether the cost of work depends on what has happened before: claim, relay, read, the admin's lists and the order
page on a history of N orders, beside the same on a store that has just opened.

Each state is measured beside the new store's, step by step in turn: what else the machine does falls on both. A cost
is the processors' time of client and server together; blocks are what PostgreSQL looked at, and do not depend on the
machine.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

import psycopg
from psycopg import sql

from benchmarks import flat_sql
from benchmarks.children import ROOT, ChildFailed, Task, run
from benchmarks.flat_child import CLAIMED
from benchmarks.server import KEPT, Server

STEPS = ("claim payments", "claim messages", "relay", "read", "lists", "order page")
# A step that does nothing: what looking at the counters costs is taken off.
NOTHING = "nothing"
# A store that has just opened has fewer orders in its history than any other: enough to fill most lists' pages.
NEW = 1000
# Steps of a kind in each state. Their median is steady with a dozen. Even, so that each state is first in half of them.
ROUNDS = 12
# Turns after which a worker's memory is looked at, and looked at again.
TURNS = (50, 500)
# Orders a second that are loaded at the very least, on a busy machine.
SLOWEST_LOAD = 200
RELAYED = 500
SPARE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Medians of one step: seconds of client and server, seconds of the clock, blocks."""

    cpu: float
    seconds: float
    blocks: float


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What one state costs beside a new store, by step. `limit` is the ratio that is allowed; the new store's log had
    `begun` events."""

    name: str
    begun: int
    events: int
    limit: float
    new: dict[str, Cost]
    here: dict[str, Cost]

    def ratio(self, step: str) -> float:
        return self.here[step].cpu / self.new[step].cpu


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """All states; `memory` is a worker's MB after each count of TURNS; `lists` are those that were opened."""

    states: tuple[State, ...]
    memory: tuple[float, float]
    lists: tuple[str, ...] = field(default=())

    def series(self) -> dict[str, list[tuple[int, float]]]:
        """By step: events of history and the cost there, as a multiple of a new store's, with which each begins."""
        plain = [each for each in self.states if each.name == "history"]
        costs = {step: [(each.events, round(each.ratio(step), 3)) for each in plain] for step in STEPS}
        return {step: [(plain[0].begun, 1.0), *each] for step, each in costs.items()}

    def as_json(self) -> dict[str, Any]:
        return {"history": self.series(), "states": [asdict(each) for each in self.states], "memory": self.memory}


def measure(
    server: Server,
    *,
    orders: int,
    in_flight: int,
    keep: bool = False,
    saying: Callable[[str], None] = lambda what: None,
) -> Flat:
    """Histories of a thousand orders and of ever ten times more, up to `orders`. `keep`: what is loaded stays on the
    server, for this and every later run to measure on a copy of it. Raises ChildFailed."""
    sizes = [orders]
    while sizes[0] // 10 > NEW:
        sizes.insert(0, sizes[0] // 10)
    states = []
    saying(f"loading {NEW:,} orders")
    with history(server, NEW, name="new", keep=keep) as new:
        for size in sizes:
            saying(f"loading {size:,} orders")
            with history(server, size, name="history", keep=keep) as database:
                pair = _Pair(server=server, new=new, database=database)
                saying(f"{size:,} orders: history")
                states.append(_state(pair, "history", 1.2))
                if size == orders:
                    saying(f"{size:,} orders: a transaction stands open")
                    states.append(_state(pair, "open transaction", 1.5, churn=in_flight // 5))
                    saying(f"{size:,} orders: {in_flight:,} rows in flight")
                    states.append(_state(pair, "in flight", 1.5, in_flight=in_flight))
        saying("memory")
        with _Stepper(server, new) as stepper:
            lists = tuple(stepper.ask("full_lists"))
            _fly(server, new, CLAIMED * (sum(TURNS) + SPARE))
            memory = (stepper.ask("memory", TURNS[0]), stepper.ask("memory", TURNS[1] - TURNS[0]))
    return Flat(states=tuple(states), memory=memory, lists=lists)


@contextmanager
def history(server: Server, orders: int, *, name: str, keep: bool) -> Iterator[str]:
    """A database of that name with so many orders, for this block: loaded, or a copy of one that is kept. Raises
    ChildFailed."""
    try:
        if keep:
            server.create(name, like=kept(server, orders))
        else:
            _load(server, name, orders)
        yield name
    finally:
        server.drop(name)


def kept(server: Server, orders: int) -> str:
    """The history that is kept, at today's migrations; loaded where there is none. Raises ChildFailed."""
    name = f"{KEPT}{orders}_orders"
    if server.has(name):
        run(server, name, Task("migrate"), patience=120 + orders / SLOWEST_LOAD)
        return name
    loading = f"{orders}_orders"
    try:
        _load(server, loading, orders)
        server.rename(loading, name)  # what has the name is whole
    finally:
        server.drop(loading)
    return name


def _load(server: Server, database: str, orders: int) -> None:
    server.create(database)
    run(server, database, Task("load", {"orders": orders}), patience=120 + orders / SLOWEST_LOAD)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """Databases: a new store's, and that of the history."""

    server: Server
    new: str
    database: str


def _state(pair: _Pair, name: str, limit: float, *, churn: int = 0, in_flight: int = 0) -> State:
    """`churn` rows are worked off while a transaction, older than that, stands open."""
    server = pair.server
    work = max(CLAIMED, RELAYED) * (ROUNDS + SPARE) + churn
    for each, more in ((pair.new, 0), (pair.database, in_flight)):
        _fly(server, each, work + more)
        if more:
            _hold(server, each, more // 2)
    with ExitStack() as stack:
        if churn:
            stack.enter_context(_standing_open(server, pair.database))
        new = stack.enter_context(_Stepper(server, pair.new))
        here = stack.enter_context(_Stepper(server, pair.database))
        labels = new.ask("full_lists")
        for stepper in (new, here):
            stepper.ask("show", labels)
            if churn:
                stepper.ask("churn", churn)
        costs = _take_turns(new, here)
        begun, events = (
            _number(server, each, "SELECT position FROM outbox_loghead") for each in (pair.new, pair.database)
        )
    for each in (pair.new, pair.database):
        _settle(server, each)
    return State(name=name, begun=begun, events=events, limit=limit, new=costs[0], here=costs[1])


def _take_turns(*steppers: "_Stepper") -> list[dict[str, Cost]]:
    """What each step costs each of them. Who comes second in a round finds the processor's caches as the first one
    left them: they change places."""
    told: list[dict[str, list[dict[str, float]]]] = [{step: [] for step in (*STEPS, NOTHING)} for _ in steppers]
    pairs = list(zip(steppers, told, strict=True))
    for number in range(ROUNDS + 1):
        for step in (*STEPS, NOTHING):
            for stepper, costs in pairs if number % 2 else pairs[::-1]:
                cost = stepper.ask("measured", step)
                if number:  # the first one warms the caches
                    costs[step].append(cost)
    return [_medians(costs) for costs in told]


def _medians(told: dict[str, list[dict[str, float]]]) -> dict[str, Cost]:
    looking = median(each["blocks"] for each in told[NOTHING])
    return {
        step: Cost(
            cpu=median(each["client"] + (each["server"] or 0.0) for each in told[step]),
            seconds=median(each["seconds"] for each in told[step]),
            blocks=median(each["blocks"] for each in told[step]) - looking,
        )
        for step in STEPS
    }


def _fly(server: Server, database: str, rows: int) -> None:
    """So many orders wait for workers and relay."""
    with psycopg.connect(server.url(database)) as session:
        for statement in flat_sql.IN_FLIGHT:
            for part in statement.split(";"):
                session.execute(part.encode(), {"rows": rows} if "%(" in part else None)
    with server.connect(database) as session:
        session.execute("VACUUM ANALYZE")


def _hold(server: Server, database: str, rows: int) -> None:
    with server.connect(database) as session:
        for table, status in (("payments_payment", "processing"), ("notifications_message", "sending")):
            session.execute(
                sql.SQL(flat_sql.CLAIMED).format(
                    table=sql.Identifier(table), status=sql.SQL(status), rows=sql.Literal(rows)
                )
            )
        session.execute("VACUUM ANALYZE")


def _settle(server: Server, database: str) -> None:
    """Nothing waits any more: the next state begins as this one did."""
    with server.connect(database) as session:
        for statement in flat_sql.SETTLED:
            session.execute(statement)
        session.execute("VACUUM ANALYZE")


@contextmanager
def _standing_open(server: Server, database: str) -> Iterator[None]:
    """A transaction that reads, as a dump of the database does: no row that was there at its beginning can be
    cleared away before it ends."""
    with psycopg.connect(server.url(database)) as session:
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        session.execute("SELECT count(*) FROM outbox_loghead")
        yield


def _number(server: Server, database: str, query: str) -> int:
    with server.connect(database) as session:
        row = session.execute(query.encode()).fetchone()
    return int(row[0]) if row else 0


class _Stepper:
    """A process of `benchmarks.flat_child` on that database."""

    def __init__(self, server: Server, database: str) -> None:
        self._log = server.folder / f"{database}.log"
        with self._log.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.flat_child"],
                cwd=ROOT,
                env=server.environment(database),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def __enter__(self) -> "_Stepper":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, step: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None  # noqa: S101 - they are pipes
        assert self._process.stdout is not None  # noqa: S101
        try:
            self._process.stdin.write(json.dumps([step, arguments]) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            last_words = "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
            raise ChildFailed(f"The process of {step} ended without a result:\n{last_words}")
        return json.loads(line)
