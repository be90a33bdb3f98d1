import json
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from outbox.management.commanding import INTERRUPTED, UNUSABLE, StoreCommand, percent, positive
from shop.simulation.shopper import Habits, Outcome, Shopper, Visit

PAYS = "pm_card_visa"
DECLINES = "pm_card_visa_chargeDeclined"
# Weights in percent, about what a shop sees.
MIX = {
    PAYS: 82.0,
    "pm_card_mastercard": 8.0,
    DECLINES: 3.0,
    "pm_card_visa_chargeDeclinedInsufficientFunds": 3.0,
    "pm_card_chargeDeclinedExpiredCard": 1.0,
    "pm_card_authenticationRequired": 3.0,
}


class Command(StoreCommand):
    help = (
        "Let shoppers order through the public pages, as browsers would; when the site is away they try again. "
        "Times in the result are seconds."
    )
    exit_codes: ClassVar = {
        0: "everybody got an answer",
        1: "somebody got none",
        INTERRUPTED: "ended by Ctrl-C: those inside finished, and the result is of them",
    }
    examples = ("--orders 60 --mix", "--orders 10 --declines 20 --json")
    # It is a browser: it needs an address, and none of the store's services.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--orders", type=positive, required=True, metavar="N", help="how many shoppers")
        parser.add_argument(
            "--concurrency", type=positive, default=8, metavar="N", help="so many at once (%(default)s)"
        )
        parser.add_argument(
            "--seed",
            type=int,
            default=1,
            metavar="N",
            help="of all choices: the same gives the same shoppers (%(default)s)",
        )
        parser.add_argument("--base-url", default=settings.STORE_ADDRESS, help="of the store (%(default)s)")
        parser.add_argument("--product", nargs="+", default=[], metavar="SLUG", help="buy only these")
        cards = parser.add_mutually_exclusive_group()
        cards.add_argument("--declines", type=percent, default=0.0, metavar="PERCENT", help="of declined cards")
        cards.add_argument(
            "--mix",
            action="store_true",
            help="a mix of cards: declined ones, 3-D Secure; shoppers stay, and some change their mind",
        )
        parser.add_argument(
            "--patience",
            type=positive,
            default=120,
            metavar="SECONDS",
            help="until a shopper gives a page up (%(default)s)",
        )
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
        parser.add_argument("--file", type=Path, metavar="PATH", help="write the result there as JSON, too")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["file"]:
            _refuse_unless_writable(options["file"])
        habits = Habits(
            base_url=options["base_url"],
            seed=options["seed"],
            cards=MIX if options["mix"] else _cards(options["declines"]),
            products=options["product"],
            patience=options["patience"],
            stay=options["mix"],
        )
        begun = time.monotonic()
        visits = _let_in(options["orders"], habits=habits, concurrency=options["concurrency"])
        summary = _summary(visits, seconds=time.monotonic() - begun)
        result = json.dumps({**summary, "visits": [asdict(visit) for visit in visits]}, indent=2)
        if options["file"]:
            options["file"].write_text(result)
        if options["json"]:
            self.stdout.write(result)
        else:
            _show(Console(highlight=False), summary, visits)
        if any(visit.outcome is Outcome.UNANSWERED for visit in visits):
            sys.exit(1)
        if len(visits) < options["orders"]:
            sys.exit(INTERRUPTED)


def _refuse_unless_writable(file: Path) -> None:
    """Before an hour of orders whose result nobody could read."""
    try:
        file.touch()
    except OSError as error:
        raise CommandError(
            f"The result cannot be written: {error}. Name another --file.", returncode=UNUSABLE
        ) from error


def _cards(declined: float) -> dict[str, float]:
    return {PAYS: 100.0 - declined, DECLINES: declined}


def _let_in(count: int, *, habits: Habits, concurrency: int) -> list[Visit]:
    """All visits, in the order of the shoppers' numbers. Ctrl-C lets those inside finish."""
    columns = (
        TextColumn("shoppers"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[said]}"),
    )
    visits: list[Visit] = []
    with ThreadPoolExecutor(max_workers=concurrency) as pool, Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=count, said="")
        inside = [pool.submit(Shopper(number, habits=habits).visit) for number in range(1, count + 1)]
        try:
            for each in as_completed(inside):
                visits.append(each.result())
                counts = Counter(visit.outcome.value for visit in visits)
                bar.update(task, advance=1, said=", ".join(f"{n} {name}" for name, n in counts.items()))
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            visits = [each.result() for each in inside if not each.cancelled()]
    return sorted(visits, key=lambda visit: visit.shopper)


def _summary(visits: Sequence[Visit], *, seconds: float) -> dict[str, Any]:
    """Times in seconds; percentiles of the checkout's answered POST."""
    posts = sorted(visit.seconds for visit in visits if visit.seconds)
    counts = Counter(visit.outcome for visit in visits)
    return {
        **{outcome.value: counts[outcome] for outcome in Outcome},
        **Counter(act for visit in visits for act in visit.acts),
        "distinct orders": len({visit.order for visit in visits if visit.order}),
        "retries": sum(visit.retries for visit in visits),
        "seconds": round(seconds, 2),
        "orders/s": round(counts[Outcome.PLACED] / seconds, 1),
        "checkout p50": _percentile(posts, 50),
        "checkout p95": _percentile(posts, 95),
    }


def _percentile(ordered: Sequence[float], percent: int) -> float | None:
    """The smallest value that so many percent do not exceed."""
    return round(ordered[math.ceil(len(ordered) * percent / 100) - 1], 3) if ordered else None


def _show(console: Console, summary: dict[str, Any], visits: Sequence[Visit]) -> None:
    table = Table(show_header=False, box=None)
    for name, value in summary.items():
        table.add_row(name, "–" if value is None else str(value))
    console.print(table)
    reasons = Counter(visit.detail for visit in visits if visit.outcome in (Outcome.REFUSED, Outcome.UNANSWERED))
    for reason, count in reasons.most_common(5):
        console.print(f"{count} × {reason}", markup=False)
