"""The whole pipeline: orders from placement to mail on this machine's processors, with nobody outside."""

from benchmarks.children import Measured, Task, run
from benchmarks.measurements import (
    SETTLED,
    Measurement,
    Result,
    Sizes,
    WrongResult,
    asked,
    drain,
    expect,
    placing,
)
from benchmarks.server import Server

PROCESSORS = 2
# Orders between placement and mail: the shopper's process waits while there are more. Some batches of each stage.
MOST = 100


def flow(server: Server, sizes: Sizes, sweep: int) -> Result:
    """First each stage by itself, then all of them at once: on a store with some orders behind it, all of which went
    that way. In one that has none, plans are made for tables without rows."""
    stages = _stages(server, sizes, sweep)
    done = server.folder / "flow-done"
    done.unlink(missing_ok=True)
    working = {"instant": True, "done": str(done), "seconds": sizes.flowing + sizes.patience}
    with server.copy(SETTLED) as database:
        measured = run(
            server,
            database,
            Task("flow", {"seed": sweep, "seconds": sizes.flowing, "most": MOST, "done": str(done)}),
            *(Task("run_group", {"group": group, **working}) for group in ("outbox", "payments", "messages")),
            patience=sizes.flowing + sizes.patience,
        )
        _expect_consistent(
            server,
            database,
            sent=sizes.orders + measured.notes[0]["sent"],
            placed=sizes.orders + measured.notes[0]["placed"],
        )
    told = measured.notes[0]
    once = Measured(
        items=told["sent"],
        seconds=sizes.flowing,
        client_cpu=measured.client_cpu,
        server_cpu=measured.server_cpu,
        finished=measured.finished,
    )
    course = [left for _, _, left in told["course"]]
    cpu = sum(stages.values())
    used = measured.client_cpu + (measured.server_cpu or 0.0)
    return Result(
        measured=once,
        notes={
            **{f"{name} alone, µs": each * 1e6 for name, each in stages.items()},
            "predicted orders/s": PROCESSORS / cpu,
            "of the prediction": once.items / once.seconds / (PROCESSORS / cpu),
            "processors used": used / measured.seconds,
            "under way after 1/10": course[len(course) // 10],
            "under way in the middle": course[len(course) // 2],
            "under way at the end": told["left"],
        },
    )


def _stages(server: Server, sizes: Sizes, sweep: int) -> dict[str, float]:
    """CPU seconds for one order of each stage, one after the other; server included."""
    with server.copy(SETTLED) as database:
        placed = run(server, database, placing(sweep, seconds=sizes.placing / 4))
        handling = Task("handle", {"seconds": sizes.patience})
        handled = run(server, database, handling)
        paid = run(server, database, drain("payments", seconds=sizes.patience))
        handled += run(server, database, handling)
        sent = run(server, database, drain("messages", seconds=sizes.patience))
        orders = placed.items + 1  # which the process has placed before it said that it was ready
        found = asked(
            server,
            database,
            accepted="SELECT count(*) FROM shop_order WHERE status = 'accepted'",
            sent="SELECT count(*) FROM notifications_message WHERE status = 'sent'",
        )
        expect(dict.fromkeys(found, sizes.orders + orders), found)
    return {
        "placement": _cpu(placed) / placed.items,
        "log and handlers": _cpu(handled) / orders,
        "payments": _cpu(paid) / orders,
        "mails": _cpu(sent) / orders,
    }


def _cpu(measured: Measured) -> float:
    if measured.server_cpu is None:
        raise WrongResult("The server's CPU time cannot be read: there is no prediction without it.")
    return measured.client_cpu + measured.server_cpu


def _expect_consistent(server: Server, database: str, *, sent: int, placed: int) -> None:
    """Who has a mail has an accepted order, and paid for it once; nothing was parked, refused or set aside."""
    found = asked(
        server,
        database,
        orders="SELECT count(*) FROM shop_order",
        sent="SELECT count(*) FROM notifications_message m JOIN shop_order o ON o.id = m.order_id"
        " JOIN payments_payment p ON p.order_id = o.id WHERE m.status = 'sent' AND m.template = 'order_confirmed'"
        " AND o.status = 'accepted' AND p.status = 'succeeded'",
        other="SELECT count(*) FROM payments_paymentattempt WHERE outcome NOT IN ('answered', '')",
        parked="SELECT count(*) FROM outbox_parkedevent",
        blocked="SELECT count(*) FROM payments_payment WHERE blocked_reason <> ''",
    )
    if found["sent"] < sent:
        raise WrongResult(f"{found['sent']} orders went the whole way, and {sent} were counted.")
    due = {"orders": placed, "sent": found["sent"], "other": 0, "parked": 0, "blocked": 0}
    expect(due, found)


ALL = (
    Measurement(
        name="flow", what="placement to mail, 4 processes, bank and mailer answer at once", items="orders", make=flow
    ),
)
