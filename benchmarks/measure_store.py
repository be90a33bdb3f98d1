"""The whole store as the demo runs it, under shoppers who come over HTTP: the honest figure beside the pipeline's."""

import json
import time
from functools import partial
from pathlib import Path

from benchmarks.children import ROOT, Measured
from benchmarks.measurements import Measurement, Result, Sizes, expect
from benchmarks.meters import server_cpu, tree_cpu
from benchmarks.server import Server
from shop.local.ports import first_free
from shop.local.store import LocalStore

STORE = "store"
# Where a free port is looked for.
PORTS = 18_000
# Shoppers at once, as the demo lets them in.
CONCURRENCY = 8
COUNTS = """
    SELECT count(*), count(*) FILTER (WHERE p.status = 'succeeded'),
        (SELECT count(*) FROM notifications_message WHERE status = 'sent' AND template = 'order_confirmed')
    FROM shop_order o LEFT JOIN payments_payment p ON p.order_id = o.id
"""


def store(server: Server, sizes: Sizes, sweep: int) -> Result:
    """Until every order is paid and has its mail. Shoppers, web, workers, scheduler, warehouse and sandbox share the
    machine; their CPU time together is the client's."""
    server.create(STORE)
    try:
        return _shopped(server, sizes, sweep)
    finally:
        server.drop(STORE)


def _shopped(server: Server, sizes: Sizes, sweep: int) -> Result:
    port = first_free(start=PORTS)
    folder, told = server.folder / f"store-{sweep}", server.folder / "shoppers.json"
    main_process = server.main_process()
    with LocalStore(
        project=ROOT,
        data=folder,
        port=port,
        sandbox_port=first_free(start=port + 1),
        database_url=server.url(STORE),
        report=lambda line: None,
        picking=0.0,
    ) as running:
        began, before, client = time.monotonic(), server_cpu(main_process), tree_cpu(main_process)
        shoppers = running.begin(
            "simulate_shoppers",
            *("--orders", str(sizes.visits), "--concurrency", str(CONCURRENCY), "--seed", str(sweep)),
            *("--file", str(told)),
        )
        running.wait(shoppers)
        until = time.monotonic() + sizes.patience
        running.run_until(partial(_settled, running, until))
        seconds = time.monotonic() - began
        after, used = server_cpu(main_process), tree_cpu(main_process) - client
        ((orders, paid, mails),) = running.query(COUNTS)
    finished = orders == paid == mails
    if finished:
        expect({"orders": _placed(told), "paid": _placed(told)}, {"orders": orders, "paid": paid})
    measured = Measured(
        items=orders,
        seconds=seconds,
        client_cpu=used,
        server_cpu=None if before is None or after is None else after - before,
        finished=finished,
    )
    summary = json.loads(told.read_text())
    return Result(
        measured=measured,
        notes={"checkout p50, ms": summary["checkout p50"] * 1000, "checkout p95, ms": summary["checkout p95"] * 1000},
    )


def _settled(running: LocalStore, until: float) -> bool:
    ((orders, paid, mails),) = running.query(COUNTS)
    return orders == paid == mails or time.monotonic() > until


def _placed(file: Path) -> int:
    return int(json.loads(file.read_text())["distinct orders"])


ALL = (
    Measurement(
        name="store",
        what=f"the whole store as in the demo, {CONCURRENCY} shoppers over HTTP, sandbox, SDK",
        items="orders",
        make=store,
        long=True,
    ),
)
