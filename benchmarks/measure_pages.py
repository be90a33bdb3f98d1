"""What the pages of a shopper's way cost, and how long it takes from the click to the money."""

from typing import Any

from benchmarks import shopper
from benchmarks.bank import gateway
from benchmarks.children import Measured, Task, run
from benchmarks.measurements import (
    SEEDED,
    Measurement,
    Result,
    Sizes,
    asked,
    expect,
    expect_orders,
)
from benchmarks.server import Server
from benchmarks.shopper import WARM

# The catalogue of the demo: a front page that shows a thousand goods is another page.
_ON_SALE = "UPDATE shop_product SET active = false WHERE slug LIKE 'bench-%'"
# The counters of card tries work as in production, and refuse nobody.
COUNTED = {"CARD_TRIES_PER_ADDRESS": "1000000", "CARD_TRIES_GLOBAL": "1000000"}
# Seconds that the bank takes for a call while clicks are measured.
LATENCY = 0.05
# A payment's calls: create and confirm.
CALLS = 2


def pages(server: Server, sizes: Sizes, sweep: int) -> Result:
    """Items are checkouts; the notes have each page's CPU, and what it is of the simple view's."""
    number = sizes.shoppers
    with server.copy(SEEDED) as database:
        _take_off_sale(server, database)
        walking = {"number": number, "seed": sweep, "server": server.main_process()}
        found = run(server, database, Task("pages", walking), settings=COUNTED)
        expect_orders(server, database, 1 + WARM + number)
    (spent,) = found.notes
    wanted = dict.fromkeys((shopper.PRODUCT, shopper.ADD), 2 * number)
    expect({**dict.fromkeys(spent, number), **wanted}, {name: each["requests"] for name, each in spent.items()})
    orders = spent[shopper.ORDER]
    measured = Measured(
        items=number, seconds=orders["seconds"], client_cpu=orders["client"], server_cpu=orders.get("server")
    )
    return Result(measured=measured, notes=_compared(spent))


def _compared(spent: dict[str, Any]) -> dict[str, float]:
    simple = _cpu(spent[shopper.SIMPLE])
    notes = {}
    for name, each in spent.items():
        notes[f"{name}: client µs"] = each["client"] / each["requests"] * 1e6
        if "server" in each:
            notes[f"{name}: server µs"] = each["server"] / each["requests"] * 1e6
        notes[f"{name}: × simple"] = _cpu(each) / simple
    return notes


def _cpu(spent: dict[str, float]) -> float:
    """Seconds for one request, of client and server."""
    return (spent["client"] + spent.get("server", 0.0)) / spent["requests"]


def click(server: Server, sizes: Sizes, sweep: int) -> Result:
    """From the click on "Order and pay" until the page would say paid, without the time that the bank takes."""
    shortest, longest = sizes.pauses
    done = server.folder / "clicks-done"
    done.unlink(missing_ok=True)
    clicking = {"number": sizes.clicks, "seed": sweep, "shortest": shortest, "longest": longest, "done": str(done)}
    working = {"instant": False, "done": str(done), "seconds": 300.0}
    with server.copy(SEEDED) as database:
        _take_off_sale(server, database)
        with gateway(server, latency=LATENCY) as bank:
            measured = run(
                server,
                database,
                Task("click", {**clicking, "seconds": sizes.patience}),
                Task("run_group", {"group": "outbox", **working}),
                Task("run_group", {"group": "payments", **working}),
                settings={**COUNTED, **bank.settings},
                patience=300.0,
            )
        # One more has been placed before.
        paid = 1 + WARM + sizes.clicks
        if measured.finished:
            found = asked(server, database, paid="SELECT count(*) FROM payments_payment WHERE status = 'succeeded'")
            expect({"paid": paid}, found)
            expect(
                dict.fromkeys(("create", "confirm"), paid), {name: bank.told[name] for name in ("create", "confirm")}
            )
    took = measured.notes[0]
    once = Measured(
        items=len(took),
        seconds=measured.seconds,
        client_cpu=measured.client_cpu,
        server_cpu=measured.server_cpu,
        finished=measured.finished,
    )
    latencies = tuple(each - CALLS * LATENCY * 1000 for each in took.values())
    return Result(measured=once, latencies=latencies if measured.finished else ())


def _take_off_sale(server: Server, database: str) -> None:
    with server.connect(database) as session:
        session.execute(_ON_SALE)


ALL = (
    Measurement(name="pages", what="checkout POST at the WSGI application, 1 process", items="orders", make=pages),
    Measurement(
        name="click",
        what=f"click to paid, less the bank's {CALLS} × {LATENCY * 1000:.0f} ms",
        items="orders",
        make=click,
    ),
)
