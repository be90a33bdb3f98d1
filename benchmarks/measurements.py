"""What a measurement is: a function of a prepared server that proves that what it counted has happened. How much each
does, what it copies, and the proofs that several share.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from statistics import quantiles
from typing import Any, Literal

from benchmarks import limits
from benchmarks.children import Measured, Task, run
from benchmarks.server import Server

# Databases that every sweep copies: one order, the same staged many times, all that in the log, real orders, these
# when the order process has released their payments, and when they are paid and confirmed.
SEEDED, STAGED, RELAYED, PLACED, DUE, SETTLED = "seeded", "staged", "relayed", "placed", "due", "settled"


class WrongResult(Exception):
    """A measurement did something else than it was to measure; its numbers mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is done. Times in seconds: `placing` for which orders are placed, `flowing` for which they go the whole
    way, `patience` after which a drain is cut short, `pauses` between two events on the idle machine. `peers` is the
    part of each peer's own number of jobs."""

    products: int = 1000
    placing: float = 3.0
    records: int = 200_000
    read: int = 100_000
    orders: int = 1000
    beats: int = 80
    shoppers: int = 18
    clicks: int = 20
    charged: int = 320
    flowing: float = 6.0
    visits: int = 120
    pauses: tuple[float, float] = (0.05, 0.1)
    patience: float = 60.0
    peers: float = 1.0
    peer_beats: int = 20


USUAL = Sizes()
FULL = replace(USUAL, placing=4.0, beats=100, shoppers=90, clicks=200, charged=1000, flowing=60.0)
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
    """`latencies` are milliseconds, of measurements that have no rate; `missing` says why nothing was measured. `took`
    is how many seconds it all took, with copies, starts and proofs."""

    measured: Measured
    latencies: tuple[float, ...] = ()
    missing: str = ""
    took: float = 0.0
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
    run(server, PLACED, placing(1, seconds=300.0, orders=sizes.orders - 2, relayed=True), patience=300.0)
    saying("their payments")
    server.create(DUE, like=PLACED)
    run(server, DUE, Task("handle", {"seconds": 300.0}), patience=300.0)
    saying("their mails")
    server.create(SETTLED, like=DUE)
    for task in (drain("payments"), Task("handle", {"seconds": 300.0}), drain("messages")):
        run(server, SETTLED, task, patience=300.0)
    with server.connect(SEEDED) as session:
        limits.define_placement(session)
        session.execute("VACUUM ANALYZE")
    for name in (PLACED, DUE, SETTLED):
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
    for name in (SEEDED, STAGED, RELAYED, PLACED, DUE, SETTLED):
        server.drop(name)


def placing(seed: int, *, seconds: float, orders: int = 0, relayed: bool = False) -> Task:
    return Task("place", {"seed": seed, "seconds": seconds, "orders": orders, "relayed": relayed})


def drain(group: str, *, seconds: float = 300.0) -> Task:
    """All payments or mails that are due."""
    return Task("drain", {"group": group, "seconds": seconds})


# --- proofs ---------------------------------------------------------------------------------------


def expect_orders(server: Server, database: str, orders: int) -> None:
    """Each order with two lines, what they hold, a payment that adds up and two records."""
    found = asked(
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
    expect({**due, "lines": 2 * orders, "reserved": 2 * orders, "records": 2 * orders}, found)


def asked(server: Server, database: str, **queries: str) -> dict[str, int]:
    """The one number of each query."""
    with server.connect(database) as session:
        rows = {name: session.execute(query.encode()).fetchone() for name, query in queries.items()}
    return {name: int(row[0]) if row and row[0] is not None else -1 for name, row in rows.items()}


def expect(due: Mapping[str, int], found: Mapping[str, int]) -> None:
    """Raises WrongResult."""
    if found != due:
        wrong = ", ".join(f"{name}: {found.get(name)} instead of {due[name]}" for name in due)
        raise WrongResult(f"Something else was done than was to be measured ({wrong}).")
