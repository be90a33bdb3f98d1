"""Measure the admin's lists and pages, and the numbers of operations, on whatever history is loaded.

    python -m benchmarks.admin_lists [--json FILE] [--beside FILE]

Each time is the median of five runs after one that warms the caches, through the whole of Django and PostgreSQL, in
one process; the worst come first. The exit status is 1 when one takes longer than the limit, or cannot be shown.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import django
from django.db import Error, connection
from rich.console import Console
from rich.table import Table

# Milliseconds that a person does not notice as waiting.
LIMIT = 300
RUNS = 5
# Milliseconds; whoever has waited as long once need not wait five times more to know.
HOPELESS = 3_000


def median_of(run: Callable[[], None]) -> float:
    """In milliseconds, on warm caches."""
    first = _once(run)
    return first if first > HOPELESS else statistics.median(_once(run) for _ in range(RUNS))


def _once(run: Callable[[], None]) -> float:
    begun = time.perf_counter()
    run()
    return (time.perf_counter() - begun) * 1000


def _measure(console: Console, only: str) -> tuple[dict[str, float], dict[str, str]]:
    """Milliseconds by page, and why the others could not be shown."""
    from django.conf import settings

    from benchmarks.admin_pages import Pages

    times: dict[str, float] = {}
    failed: dict[str, str] = {}
    with console.status("…") as status:
        for page in Pages(host=settings.ALLOWED_HOSTS[0]):
            if only in page.name:
                status.update(page.name)
                try:
                    times[page.name] = median_of(page.open)
                except RuntimeError as error:
                    failed[page.name] = str(error)
    return times, failed


def _show(console: Console, times: dict[str, float], beside: dict[str, float]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("page", overflow="fold")
    table.add_column("ms", justify="right")
    if beside:
        table.add_column("beside", justify="right")
        table.add_column("×", justify="right")
    for name, taken in sorted(times.items(), key=lambda item: -item[1]):
        cells = [name, f"{taken:.0f}"]
        if name in beside:
            cells += [f"{beside[name]:.0f}", f"{taken / beside[name]:.1f}"]
        table.add_row(*cells, style="red" if taken > LIMIT else "")
    console.print(table)


def _where() -> str:
    from shop.models import Order

    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version'), pg_size_pretty(pg_database_size(current_database()))")
        version, size = cursor.fetchone()
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    return f"PostgreSQL {version}, {Order.objects.count():,} orders, {size}, {os.cpu_count()} cores, load {load}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.admin_lists", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the milliseconds by page there")
    parser.add_argument("--beside", type=Path, metavar="FILE", help="compare with what --json has written elsewhere")
    parser.add_argument("--only", default="", metavar="TEXT", help="pages whose name has this in it")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    django.setup()
    console = Console(highlight=False)
    beside = json.loads(options.beside.read_text()) if options.beside else {}
    try:
        times, failed = _measure(Console(stderr=True), options.only)
        console.print(_where())
    except (Error, LookupError) as error:
        console.print(f"Nothing could be measured: {error}")
        return 2
    if options.json:
        options.json.write_text(json.dumps(times, indent=1) + "\n")
    _show(console, times, beside)
    slow = sum(taken > LIMIT for taken in times.values())
    console.print(f"{len(times)} pages, {slow} above {LIMIT} ms, {len(failed)} could not be shown")
    for name, why in failed.items():
        console.print(f"{name}: {why}", style="red")
    return 1 if slow or failed else 0


if __name__ == "__main__":
    sys.exit(main())
