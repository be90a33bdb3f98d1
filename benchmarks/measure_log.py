"""Orders, the log, and how soon an event is heard of.

The placement is the function behind the checkout page, not the page: what HTTP, session and template add is not part
of it.
"""

from collections.abc import Mapping

from benchmarks import limits
from benchmarks.children import Measured, Task, run
from benchmarks.measurements import (
    PLACED,
    RELAYED,
    SEEDED,
    STAGED,
    Measurement,
    Result,
    Sizes,
    asked,
    expect,
    expect_orders,
    placing,
)
from benchmarks.server import Server

# Events that the log holds of an order that was accepted.
EVENTS_ACCEPTED = 6


# --- orders ---------------------------------------------------------------------------------------


def place_limit(server: Server, sizes: Sizes, sweep: int) -> Result:
    with server.copy(SEEDED) as database:
        measured = limits.place_by_function(server, database, seconds=sizes.placing)
        expect_orders(server, database, measured.items + 1)
    return Result(measured=measured)


def place(server: Server, sizes: Sizes, sweep: int) -> Result:
    processes = 2
    with server.copy(SEEDED) as database:
        tasks = [placing(100 * sweep + each, seconds=sizes.placing) for each in range(processes)]
        measured = run(server, database, *tasks)
        expect_orders(server, database, measured.items + 1 + processes)
    return Result(measured=measured)


# --- the log --------------------------------------------------------------------------------------


def relay_limit(server: Server, sizes: Sizes, sweep: int) -> Result:
    with server.copy(STAGED) as database:
        measured = limits.delete_staged(server, database)
    expect({"deleted": sizes.records}, {"deleted": measured.items})
    return Result(measured=measured)


def relay(server: Server, sizes: Sizes, sweep: int) -> Result:
    with server.copy(STAGED) as database:
        measured = run(server, database, Task("relay", {"seconds": sizes.patience}))
        if measured.finished:
            _expect_log(server, database, sizes.records)
            expect({"relayed": sizes.records}, {"relayed": measured.items})
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
            expect({"delivered": sizes.read * len(names)}, {"delivered": measured.items})
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
            expect({"events": EVENTS_ACCEPTED * sizes.orders}, {"events": measured.items})
            found = asked(
                server,
                database,
                accepted="SELECT count(*) FROM shop_order WHERE status = 'accepted'",
                mails="SELECT count(*) FROM notifications_message WHERE template = 'order_confirmed'",
                parked="SELECT count(*) FROM outbox_parkedevent",
            )
            expect({"accepted": sizes.orders, "mails": sizes.orders, "parked": 0}, found)
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
    expect({"heard": sizes.beats, "committed": sizes.beats}, {"heard": len(heard), "committed": len(committed)})
    latencies = tuple((heard[number] - at) / 1e6 for number, at in committed.items())
    once = Measured(
        items=sizes.beats, seconds=measured.seconds, client_cpu=measured.client_cpu, server_cpu=measured.server_cpu
    )
    return Result(measured=once, latencies=latencies)


# --- proofs ---------------------------------------------------------------------------------------


def _expect_log(server: Server, database: str, events: int) -> None:
    """Nothing is staged, and the positions are dense from 1 to the head."""
    found = asked(
        server,
        database,
        staged="SELECT count(*) FROM outbox_outboxrecord",
        events="SELECT count(*) FROM outbox_event",
        last="SELECT max(position) FROM outbox_event",
        head="SELECT position FROM outbox_loghead",
    )
    expect({"staged": 0, "events": events, "last": events, "head": events}, found)


def _expect_read(server: Server, database: str, *names: str) -> None:
    query = "SELECT position - (SELECT position FROM outbox_loghead) FROM outbox_subscription WHERE name = '{}'"
    expect(dict.fromkeys(names, 0), asked(server, database, **{name: query.format(name) for name in names}))


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
