"""Shoppers, operators and the warehouse over HTTP while everything is killed at random and every fault is on; then
everything must become quiet, and the books must be right. Exit status 0 only then."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from shop.local.cluster import remove_data
from shop.local.operators import Operators
from shop.local.ports import first_free, take
from shop.local.store import LocalStore, StoreError
from tests.chaos.plan import plan
from tests.chaos.world import Violation, Witness, World

PROJECT = Path(__file__).parents[2]
PORT = 24_000
# Shorter than in life, so that what a dead worker had claimed is taken up again within the run. Seconds.
DEADLINES = {
    "PAYMENT_CONNECT_TIMEOUT": "1",
    "PAYMENT_READ_TIMEOUT": "2",
    "PAYMENT_CALL_DEADLINE": "3",
    "PAYMENT_LEASE_SECONDS": "25",
    "PAYMENT_SETTLE_SECONDS": "4",
    "MAIL_TIMEOUT": "3",
    "MAIL_LEASE_SECONDS": "20",
    "SCREENING_TIMEOUT": "3",
}
# Shoppers at once: those who only order, and those who stay and see their order through, one in so many of all.
PASSING, STAYING = 20, 12
STAY_ONE_IN = 4
# What the summary counts.
COUNTED = {
    "Orders": "SELECT status, count(*) FROM shop_order GROUP BY 1 ORDER BY 1",
    "Calls to the bank": "SELECT coalesce(nullif(outcome, ''), 'never closed'), count(*) "
    "FROM payments_paymentattempt GROUP BY 1 ORDER BY 1",
    "Mails": "SELECT status, count(*) FROM notifications_message GROUP BY 1 ORDER BY 1",
    "Decisions to": "SELECT kind, count(*) FROM outbox_decision GROUP BY 1 ORDER BY 1",
}
# Seconds from the last fault until everything has settled.
QUIET_WITHIN = 240

console = Console(highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--duration", type=float, default=60.0, help="seconds of kills and faults (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of everything that goes wrong (%(default)s)")
    parser.add_argument("--orders", type=int, default=0, help="shoppers (seven for each second)")
    options = parser.parse_args(arguments)
    os.environ.update(DEADLINES)
    folder = Path(tempfile.mkdtemp(prefix="store-chaos-"))
    folder.chmod(0o711)  # as root, PostgreSQL's account must get through
    try:
        status = _run(folder, **vars(options))
    except Violation as violation:
        console.print(f"[red]Violated with --seed {options.seed} --duration {options.duration:g}:")
        console.print(str(violation), markup=False, soft_wrap=True)
        console.print(f"Database, logs and ledgers are kept in {folder}.", markup=False, soft_wrap=True)
        return 1
    remove_data(folder / "postgresql")
    shutil.rmtree(folder)
    return status


def _run(folder: Path, *, duration: float, seed: int, orders: int) -> int:
    orders = orders or round(7 * duration)
    port = first_free(start=PORT)
    take(port)
    sandbox_port = first_free(start=port + 1)
    with LocalStore(
        project=PROJECT,
        data=folder,
        port=port,
        sandbox_port=sandbox_port,
        control_port=first_free(start=sandbox_port + 1),
        database_url=None,
        picking=0.5,
        report=_report,
        longest_pause=0.5,
    ) as store:
        try:
            return _endure(store, folder, duration=duration, seed=seed, orders=orders)
        except (Violation, StoreError) as error:
            console.print(store.log_endings(), markup=False, soft_wrap=True)
            raise Violation(str(error)) from error


def _endure(store: LocalStore, folder: Path, *, duration: float, seed: int, orders: int) -> int:
    world, witness = World(store, plan(seed=seed, duration=duration), report=_report), Witness(store)
    staying = orders // STAY_ONE_IN
    # Everybody asks the store again and again: from here on something is always away.
    shoppers = {
        file: store.begin(
            *("simulate_shoppers", "--orders", str(count), "--concurrency", str(at_once), "--file", str(file)), *habits
        )
        for file, count, at_once, habits in (
            (folder / "passing.json", orders - staying, PASSING, ["--seed", str(seed), "--declines", "5"]),
            (folder / "staying.json", staying, STAYING, ["--seed", str(seed + 1), "--mix"]),
        )
    }
    people = Operators(store, seed=seed)
    operators = people.begin_work(2)
    begun = time.time()

    def over() -> bool:
        world()
        witness()
        return world.is_over

    def gone() -> bool:
        witness()
        return all(each.poll() is not None for each in shoppers.values())

    store.run_until(over)
    calmed = time.time()
    world.calm()
    store.run_until(gone)
    for file, each in shoppers.items():
        _ended(store, "simulate_shoppers", store.wait(each))
        _still_true(store, json.loads(file.read_text())["visits"])
    _ended(store, "simulate_operators", store.end(operators))
    _manage(store, "pipeline_status", "--wait-quiet", str(QUIET_WITHIN))
    people.decide_what_waits(patience=QUIET_WITHIN)
    witness.finish()
    settled = time.time()
    _manage(store, "check_money", "--warehouse-file", str(store.warehouse_file))
    _print(store, world, witness, seed=seed, times=(begun, calmed, settled))
    return 0


def _still_true(store: LocalStore, visits: Sequence[dict[str, Any]]) -> None:
    """What a shopper was told, by an answer that did arrive: an order's address leads to it for ever."""
    known = {f"/orders/{token}/" for (token,) in store.query("SELECT token FROM shop_order")}
    for visit in visits:
        if visit["detail"].startswith("HTTP 404") or (visit["order"] and visit["order"] not in known):
            raise Violation(f"Q7: shopper {visit['shopper']} was told of an order that is not there: {visit}")


def _manage(store: LocalStore, *arguments: str) -> None:
    _ended(store, arguments[0], store.manage(*arguments))


def _ended(store: LocalStore, name: str, status: int) -> None:
    if status:
        log = store.log(name)
        raise Violation(f"{name} ended with status {status}\n{log.read_text()[-3000:] if log.exists() else ''}")


def _report(line: str) -> None:
    console.print(f"[{time.strftime('%H:%M:%S')}] {line}", markup=False, soft_wrap=True)


def _print(store: LocalStore, world: World, witness: Witness, *, seed: int, times: tuple[float, float, float]) -> None:
    begun, calmed, settled = times
    table = Table(title=f"All is right after seed {seed}", title_justify="left", show_header=False)
    kills = sum(count for name, count in world.counts.items() if name.startswith("kill"))
    table.add_row("Seconds of storm", f"{calmed - begun:.1f}")
    table.add_row("Kills", str(kills))
    for name, count in sorted(world.counts.items()):
        table.add_row(f"  {name}", str(count))
    for name, count in sorted(witness.looks.items()):
        table.add_row(f"Looks at the books: {name}", str(count))
    placed = [at for (at,) in store.query("SELECT extract(epoch FROM created_at) FROM shop_order")]
    table.add_row("Orders placed in the storm", str(sum(at < calmed for at in placed)))
    table.add_row("Orders placed later", str(sum(at >= calmed for at in placed)))
    for what, grouped in COUNTED.items():
        for value, count in store.query(grouped):
            table.add_row(f"{what} {value}", str(count))
    table.add_row("Seconds until quiet", f"{settled - calmed:.1f}")
    console.print(table)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KeyboardInterrupt, subprocess.SubprocessError) as error:
        sys.exit(f"Ended: {error!r}")
