"""How many calls to the bank one worker process makes, and what the SDK alone makes of the same processor."""

from functools import partial

from benchmarks.bank import Gateway, gateway
from benchmarks.children import Measured, Task, run
from benchmarks.measurements import DUE, SEEDED, Measurement, Result, Sizes, asked, expect
from benchmarks.server import Server

IN_FLIGHT = 64
SLOW, FAST = 0.2, 0.05
_OTHERS_WAIT = """
    UPDATE payments_payment SET due_at = NULL
    WHERE id NOT IN (SELECT id FROM payments_payment ORDER BY id LIMIT %s)
"""


def charge(server: Server, sizes: Sizes, sweep: int, *, latency: float) -> Result:
    """The payments of orders that were really placed; the limiter is off."""
    with server.copy(DUE) as database:
        with server.connect(database) as session:
            session.execute(_OTHERS_WAIT, [sizes.charged])
        with gateway(server, latency=latency) as bank:
            measured = run(
                server,
                database,
                Task("pay", {"number": sizes.charged, "seconds": sizes.patience}),
                settings={**bank.settings, "PAYMENT_IN_FLIGHT": str(IN_FLIGHT)},
            )
        if measured.finished:
            expect_calls(bank, sizes.charged)
            found = asked(
                server,
                database,
                paid="SELECT count(*) FROM payments_payment WHERE status = 'succeeded' AND token IS NULL",
                calls="SELECT count(*) FROM payments_paymentattempt WHERE outcome = 'answered'",
                journal="SELECT count(*) FROM payments_paymentattempt",
            )
            expect({"paid": sizes.charged, "calls": 2 * sizes.charged, "journal": 2 * sizes.charged}, found)
    return _result(measured, bank, latency, seconds=measured.notes[0]["seconds"])


def call(server: Server, sizes: Sizes, sweep: int, *, latency: float) -> Result:
    with server.copy(SEEDED) as database, gateway(server, latency=latency) as bank:
        measured = run(
            server,
            database,
            Task("call", {"number": sizes.charged, "in_flight": IN_FLIGHT}),
            settings=bank.settings,
        )
    expect_calls(bank, sizes.charged)
    return _result(measured, bank, latency, seconds=measured.seconds)


def expect_calls(bank: Gateway, payments: int) -> None:
    """Two calls for each, each with a key of its own."""
    due = {"create": payments, "confirm": payments, "other": 0, "keys": 2 * payments}
    expect(due, {name: bank.told[name] for name in due})


def _result(measured: Measured, bank: Gateway, latency: float, *, seconds: float) -> Result:
    """`seconds`: until the last answer was recorded."""
    once = Measured(
        items=measured.items,
        seconds=seconds,
        client_cpu=measured.client_cpu,
        server_cpu=measured.server_cpu,
        finished=measured.finished,
    )
    if not measured.finished:
        return Result(measured=once)
    share = measured.items / seconds / (IN_FLIGHT / latency)
    notes = {"of in flight ÷ latency": share, "most in flight": bank.told["most"]}
    return Result(measured=once, notes={**notes, "gateway µs": bank.told["cpu"] / measured.items * 1e6})


ALL = tuple(
    Measurement(
        name=f"{name}-{latency * 1000:.0f}",
        what=f"{what}, {IN_FLIGHT} in flight, bank answers after {latency * 1000:.0f} ms",
        items="calls",
        make=partial(make, latency=latency),
        limit=limit and f"{limit}-{latency * 1000:.0f}",
    )
    for latency in (SLOW, FAST)
    for name, what, make, limit in (
        ("call", "create and confirm through the SDK, no database", call, ""),
        ("charge", "payments worker, 1 process", charge, "call"),
    )
)
