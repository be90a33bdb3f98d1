"""How fast orders are placed, paid and carried through, what pages cost, and how much of it is PostgreSQL or the SDK.

    python -m benchmarks                       (make bench)
    python -m benchmarks --sweeps 10 --full    (make bench-full)
    python -m benchmarks --only place-limit place --json numbers.json
    python -m benchmarks --only flat --orders 1000000 --keep

It starts a durable PostgreSQL of its own in a temporary folder, or makes databases of its own on the server of
DATABASE_URL and removes them, but for the histories of --keep. All measurements are made once in each sweep, one after
the other, so that what else the machine does falls on all of them.
"""

import argparse
import datetime as dt
import json
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import flat, measurements, meters, report
from benchmarks.children import ChildFailed
from benchmarks.everything import ALL
from benchmarks.limits import LimitFailed
from benchmarks.measurements import FULL, QUICK, USUAL, Measurement, Result, Sizes, WrongResult
from benchmarks.peers import measuring as peers
from benchmarks.server import NotDurable, Server, running
from outbox.management.commanding import INTERRUPTED
from shop.local.postgres import PostgresError

# Fewer say nothing about how far numbers lie apart.
FEWEST_SWEEPS = 3
# How often a second the progress is drawn: it uses the machine that is measured.
REFRESHED = 1
# Columns of a report that goes to a file or a pipe.
WIDTH = 130
# What is measured on a history; and how many orders that has. Loading a million takes ten minutes and more.
FLAT, ORDERS = "flat", 10_000
# Rows in flight on top of it, but never more than its orders.
IN_FLIGHT = 100_000


def main() -> int:
    """0: measured; 1: a drain was cut short by its time limit; 2: it could not be measured; 130: Ctrl-C."""
    options = _options()
    wanted = [each for each in ALL if (each.name in options.only if options.only else options.full or not each.long)]
    history: flat.Flat | None = None
    sizes = QUICK if options.quick else FULL if options.full else USUAL
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    progress = Console(stderr=True)
    begun = dt.datetime.now(dt.UTC)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # folder and databases are removed
    try:
        with running() as server:
            about = _about(server, sizes)
            sweeps = _measure(server, wanted, sizes, options.sweeps, progress) if wanted else {}
            if options.orders and (not options.only or FLAT in options.only):
                history = _history(server, options.orders, progress, keep=options.keep)
            kept = server.kept()
    except (PostgresError, psycopg.Error, NotDurable, ChildFailed, LimitFailed, WrongResult) as error:
        progress.print(f"Nothing was measured: {error}", style="red", markup=False)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    about |= {"begun": begun.isoformat(timespec="seconds"), "load after": meters.load()}
    if options.json:
        numbers = report.as_json(wanted, sweeps, **about) | (history.as_json() if history else {})
        options.json.write_text(json.dumps(numbers, indent=1) + "\n")
    for name, facts in about.items():
        told = ", ".join(f"{key} {value}" for key, value in facts.items()) if isinstance(facts, dict) else facts
        console.print(f"{name}: {told}", soft_wrap=True, markup=False)
    console.print()
    report.show(console, wanted, sweeps)
    if history:
        report.show_history(console, history)
    if options.keep:
        console.print(_told(kept), markup=False)
    return 0 if all(result.measured.finished for each in sweeps.values() for result in each) else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [*(each.name for each in ALL), FLAT]
    parser.add_argument("--sweeps", type=int, default=FEWEST_SWEEPS, metavar="N", help="how often (%(default)s)")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"some of: {', '.join(names)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine, settings and all sweeps there")
    parser.add_argument(
        "--orders", type=int, default=ORDERS, metavar="N", help="of the longest history (%(default)s); 0: none"
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave the loaded histories on the server of DATABASE_URL, and measure on those that are there",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="tiny sizes: whether it works, not how fast it is")
    length.add_argument("--full", action="store_true", help="the long ones too, and a minute of the whole pipeline")
    options = parser.parse_args()
    if options.sweeps < FEWEST_SWEEPS and not options.quick:
        parser.error(f"--sweeps: at least {FEWEST_SWEEPS}, or nobody knows how far the numbers lie apart")
    if options.orders and options.orders < flat.NEW:
        parser.error(f"--orders: 0, or at least {flat.NEW}, which is what a new store is given")
    if options.keep and "DATABASE_URL" not in os.environ:
        parser.error("--keep: nothing outlives a server of the run's own; name one by DATABASE_URL")
    if options.json:
        try:
            options.json.touch()  # not only after some minutes
        except OSError as error:
            parser.error(f"--json: {error}")
    return options


def _about(server: Server, sizes: Sizes) -> dict[str, Any]:
    return {
        "machine": meters.machine(server.folder),
        "server": server.settings(),
        "sizes": asdict(sizes),
        "load before": meters.load(),
    }


def _history(server: Server, orders: int, console: Console, *, keep: bool) -> flat.Flat:
    with console.status("history") as status:
        return flat.measure(server, orders=orders, in_flight=min(orders, IN_FLIGHT), keep=keep, saying=status.update)


def _told(kept: Mapping[str, int]) -> str:
    """What is kept, and how it is removed."""
    lines = [f"    DROP DATABASE {name};   -- {size:,} MB" for name, size in kept.items()]
    return "\n".join(["Kept on the server of DATABASE_URL for the next --keep; to remove it:", *lines])


def _measure(
    server: Server, wanted: list[Measurement], sizes: Sizes, times: int, console: Console
) -> dict[str, list[Result]]:
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    sweeps: dict[str, list[Result]] = defaultdict(list)
    try:
        with Progress(*columns, console=console, refresh_per_second=REFRESHED) as progress:
            bar = progress.add_task("", total=times * len(wanted))
            measurements.prepare(
                server, sizes, saying=lambda what: progress.update(bar, description=f"preparing {what}")
            )
            for sweep in range(1, times + 1):
                for each in wanted:
                    progress.update(bar, description=f"sweep {sweep}: {each.what}")
                    begun = time.monotonic()
                    made = each.make(server, sizes, sweep)
                    sweeps[each.name].append(replace(made, took=round(time.monotonic() - begun, 1)))
                    progress.advance(bar)
            progress.update(bar, description="done")
    finally:
        measurements.remove(server)
        peers.remove(server)
    return sweeps


if __name__ == "__main__":
    sys.exit(main())
