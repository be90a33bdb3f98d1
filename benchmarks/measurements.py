"""What is measured, each as a function of a prepared server; every one proves that what it counted has happened.

The placement is the function behind the checkout page, not the page: what HTTP, session and template add is not part
of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from statistics import quantiles
from typing import Any, Literal

from benchmarks import limits
from benchmarks.children import Measured, Task, run
from benchmarks.server import Server

# Databases that every sweep copies: one order, the same staged many times, all that in the log, real orders, and these
# when the order process has released their payments.
SEEDED, STAGED, RELAYED, PLACED, DUE = "seeded", "staged", "relayed", "placed", "due"
# Events that the log holds of an order that was placed, and of one that was accepted.
EVENTS_PLACED, EVENTS_ACCEPTED = 2, 6


class WrongResult(Exception):
    """A measurement did something else than it was to measure; its numbers mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is done. Times in seconds: `placing` for which orders are placed, `flowing` for which they go the whole
    way, `patience` after which a drain is cut short, `pauses` between two events on the idle machine. `peers` is the
    part of each peer's own number of jobs."""

    products: int = 1000
    placing: float = 4.0
    records: int = 200_000
    read: int = 100_000
    orders: int = 1000
    beats: int = 100
    shoppers: int = 18
    clicks: int = 20
    charged: int = 480
    flowing: float = 8.0
    visits: int = 120
    pauses: tuple[float, float] = (0.05, 0.1)
    patience: float = 60.0
    peers: float = 1.0
    peer_beats: int = 30


USUAL = Sizes()
FULL = replace(USUAL, shoppers=90, clicks=200, charged=1000, flowing=60.0)
QUICK = Sizes(
    products=60,
    placing=1.0,
    records=4000,
    read=4000,
    orders=40,
    beats=10,
    shoppers=3,
    clicks=3,
    charged=40,
    flowing=3.0,
    visits=4,
    pauses=(0.02, 0.05),
    patience=30.0,
    peers=0.02,
    peer_beats=10,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """`latencies` are milliseconds, of measurements that have no rate; `missing` says why nothing was measured."""

    measured: Measured
    latencies: tuple[float, ...] = ()
    missing: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def rate(self) -> float | None:
        """Items a second; None for work that was cut short, and where the time is that of pauses."""
        if not self.measured.finished or self.latencies or not self.measured.seconds:
            return None
        return self.measured.items / self.measured.seconds

    def quantile(self, percent: int) -> float | None:
        """Milliseconds, of the latencies."""
        return quantiles(self.latencies, n=100, method="inclusive")[percent - 1] if self.latencies else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """`limit` names the measurement that this one is compared with; `ours` the one that is compared with a peer's. A
    `long` one is made by --full alone."""

    name: str
    what: str
    items: str
    make: Callable[[Server, Sizes, int], Result]
    limit: str = ""
    long: bool = False
    kind: Literal["ours", "limit", "peer"] = "ours"
    ours: str = ""


def prepare(server: Server, sizes: Sizes, *, saying: Callable[[str], None] = lambda what: None) -> None:
    """The databases that are copied."""
    saying("a store")
    server.create(SEEDED)
    run(server, SEEDED, Task("build", {"products": sizes.products}))
    for name, records, in_log in ((STAGED, sizes.records, False), (RELAYED, sizes.read, True)):
        saying(f"{records:,} records")
        stage(server, name, records=records, in_log=in_log)
    saying(f"{sizes.orders:,} orders")
    server.create(PLACED, like=SEEDED)
    # One is there already, and each process places one before it says that it is ready.
    run(server, PLACED, _placing(1, seconds=300.0, orders=sizes.orders - 2, relayed=True), patience=300.0)
    saying("their payments")
    server.create(DUE, like=PLACED)
    run(server, DUE, Task("handle", {"seconds": 300.0}), patience=300.0)
    with server.connect(SEEDED) as session:
        limits.define_placement(session)
        session.execute("VACUUM ANALYZE")
    for name in (PLACED, DUE):
        with server.connect(name) as session:
            session.execute("VACUUM ANALYZE")


def stage(server: Server, name: str, *, records: int, in_log: bool) -> None:
    """That database anew, with so many records staged or in the log."""
    server.drop(name)
    server.create(name, like=SEEDED)
    with server.connect(name) as session:
        limits.stage(session, records=records, in_log=in_log)


def remove(server: Server) -> None:
    """The prepared databases are gone."""
    for name in (SEEDED, STAGED, RELAYED, PLACED, DUE):
        server.drop(name)


def _placing(seed: int, *, seconds: float, orders: int = 0, relayed: bool = False) -> Task:
    return Task("place", {"seed": seed, "seconds": seconds, "orders": orders, "relayed": relayed})


# --- orders ---------------------------------------------------------------------------------------


def place_limit(server: Server, sizes: Sizes, sweep: int) -> Result:
    with server.copy(SEEDED) as database:
        measured = limits.place_by_function(server, database, seconds=sizes.placing)
        _expect_orders(server, database, measured.items + 1)
    return Result(measured=measured)


def place(server: Server, sizes: Sizes, sweep: int) -> Result:
    processes = 2
    with server.copy(SEEDED) as database:
        tasks = [_placing(100 * sweep + each, seconds=sizes.placing) for each in range(processes)]
        measured = run(server, database, *tasks)
        _expect_orders(server, database, measured.items + 1 + processes)
    return Result(measured=measured)


def _expect_orders(server: Server, database: str, orders: int) -> None:
    """Each order with two lines, what they hold, a payment that adds up and two records."""
    found = _asked(
        server,
        database,
        orders="SELECT count(*) FROM shop_order WHERE status = 'placed'",
        lines="SELECT count(*) FROM shop_orderline WHERE hold = 'held'",
        reserved="SELECT sum(reserved) FROM shop_stock",
        payments="SELECT count(*) FROM payments_payment JOIN shop_order ON shop_order.id = order_id AND total = amount"
        " WHERE reference = 'O-' || lpad(order_id::text, greatest(6, length(order_id::text)), '0')",
        totals="SELECT count(*) FROM shop_order WHERE subtotal ="
        " (SELECT sum(unit_price * quantity) FROM shop_orderline WHERE order_id = shop_order.id)",
        records="SELECT count(*) FROM outbox_outboxrecord JOIN shop_order ON aggregateid = shop_order.id::text",
    )
    due = {"orders": orders, "payments": orders, "totals": orders}
    _expect({**due, "lines": 2 * orders, "reserved": 2 * orders, "records": 2 * orders}, found)


# --- the log --------------------------------------------------------------------------------------


def relay_limit(server: Server, sizes: Sizes, sweep: int) -> Result:
    with server.copy(STAGED) as database:
        measured = limits.delete_staged(server, database)
    _expect({"deleted": sizes.records}, {"deleted": measured.items})
    return Result(measured=measured)


def relay(server: Server, sizes: Sizes, sweep: int) -> Result:
    with server.copy(STAGED) as database:
        measured = run(server, database, Task("relay", {"seconds": sizes.patience}))
        if measured.finished:
            _expect_log(server, database, sizes.records)
            _expect({"relayed": sizes.records}, {"relayed": measured.items})
    return Result(measured=measured)


def read_one(server: Server, sizes: Sizes, sweep: int) -> Result:
    return _read(server, sizes, "bench-one")


def read_two(server: Server, sizes: Sizes, sweep: int) -> Result:
    return _read(server, sizes, "bench-one", "bench-two")


def _read(server: Server, sizes: Sizes, *names: str) -> Result:
    with server.copy(RELAYED) as database:
        tasks = [Task("read", {"name": name, "seconds": sizes.patience}) for name in names]
        measured = run(server, database, *tasks)
        if measured.finished:
            _expect({"delivered": sizes.read * len(names)}, {"delivered": measured.items})
            _expect_read(server, database, *names)
    return Result(measured=measured)


def handle(server: Server, sizes: Sizes, sweep: int) -> Result:
    """First what follows the placement, then what follows the money; between them, untimed, all payments succeed."""
    handling = Task("handle", {"seconds": sizes.patience})
    with server.copy(PLACED) as database:
        measured = run(server, database, handling)
        run(server, database, Task("charge"))
        measured += run(server, database, handling)
        if measured.finished:
            _expect_log(server, database, EVENTS_ACCEPTED * sizes.orders)
            _expect_read(server, database, "order-process", "messages")
            _expect({"events": EVENTS_ACCEPTED * sizes.orders}, {"events": measured.items})
            found = _asked(
                server,
                database,
                accepted="SELECT count(*) FROM shop_order WHERE status = 'accepted'",
                mails="SELECT count(*) FROM notifications_message WHERE template = 'order_confirmed'",
                parked="SELECT count(*) FROM outbox_parkedevent",
            )
            _expect({"accepted": sizes.orders, "mails": sizes.orders, "parked": 0}, found)
    return Result(measured=measured)


# --- latency --------------------------------------------------------------------------------------


def latency_bell(server: Server, sizes: Sizes, sweep: int) -> Result:
    return _latency(server, sizes, sweep)


def latency_poll(server: Server, sizes: Sizes, sweep: int) -> Result:
    return _latency(server, sizes, sweep, {"DOORBELL_DIR": "off"})


def _latency(server: Server, sizes: Sizes, sweep: int, settings: Mapping[str, str] | None = None) -> Result:
    shortest, longest = sizes.pauses
    beats = {"events": sizes.beats, "shortest": shortest, "longest": longest, "seed": sweep}
    with server.copy(SEEDED) as database:
        measured = run(
            server,
            database,
            Task("listen", {"events": sizes.beats, "seconds": sizes.beats * longest + sizes.patience}),
            Task("publish", beats),
            settings=settings,
        )
    heard, committed = measured.notes
    _expect({"heard": sizes.beats, "committed": sizes.beats}, {"heard": len(heard), "committed": len(committed)})
    latencies = tuple((heard[number] - at) / 1e6 for number, at in committed.items())
    once = Measured(
        items=sizes.beats, seconds=measured.seconds, client_cpu=measured.client_cpu, server_cpu=measured.server_cpu
    )
    return Result(measured=once, latencies=latencies)


# --- proofs ---------------------------------------------------------------------------------------


def _expect_log(server: Server, database: str, events: int) -> None:
    """Nothing is staged, and the positions are dense from 1 to the head."""
    found = _asked(
        server,
        database,
        staged="SELECT count(*) FROM outbox_outboxrecord",
        events="SELECT count(*) FROM outbox_event",
        last="SELECT max(position) FROM outbox_event",
        head="SELECT position FROM outbox_loghead",
    )
    _expect({"staged": 0, "events": events, "last": events, "head": events}, found)


def _expect_read(server: Server, database: str, *names: str) -> None:
    query = "SELECT position - (SELECT position FROM outbox_loghead) FROM outbox_subscription WHERE name = '{}'"
    _expect(dict.fromkeys(names, 0), _asked(server, database, **{name: query.format(name) for name in names}))


def _asked(server: Server, database: str, **queries: str) -> dict[str, int]:
    """The one number of each query."""
    with server.connect(database) as session:
        rows = {name: session.execute(query.encode()).fetchone() for name, query in queries.items()}
    return {name: int(row[0]) if row and row[0] is not None else -1 for name, row in rows.items()}


def _expect(due: Mapping[str, int], found: Mapping[str, int]) -> None:
    if found != due:
        wrong = ", ".join(f"{name}: {found.get(name)} instead of {due[name]}" for name in due)
        raise WrongResult(f"Something else was done than was to be measured ({wrong}).")


ALL = (
    Measurement(
        name="place-limit",
        what="placement as one function call, 8 clients of pgbench",
        items="orders",
        make=place_limit,
        kind="limit",
    ),
    Measurement(
        name="place", what="place_order, 2 lines, 2 processes", items="orders", make=place, limit="place-limit"
    ),
    Measurement(
        name="relay-limit",
        what="deleting staged records by 500, pgbench",
        items="records",
        make=relay_limit,
        kind="limit",
    ),
    Measurement(name="relay", what="relay, 1 process", items="records", make=relay, limit="relay-limit"),
    Measurement(name="read-one", what="log to a handler that does nothing, 1 reader", items="events", make=read_one),
    Measurement(name="read-two", what="the same, 2 readers in 2 processes", items="deliveries", make=read_two),
    Measurement(name="handle", what="log to order process and messages, 1 process", items="events", make=handle),
    Measurement(name="latency-bell", what="commit to handler, idle, doorbell", items="events", make=latency_bell),
    Measurement(name="latency-poll", what="commit to handler, idle, polling", items="events", make=latency_poll),
)
