"""Load a store's history: orders that were placed, paid, mailed and shipped, with everything that is kept of them.

    python -m benchmarks.history --orders 1000000

It writes into the database of DATABASE_URL, which must hold no orders yet, and leaves it analysed. Triggers and
constraints are as always; only the commits do not wait for the disk. Measured afterwards by `benchmarks.admin_lists`.
"""

import argparse
import os
import sys
from collections.abc import Callable

import django
from django.db import Error, connection, transaction
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import history_money_sql as money
from benchmarks import history_sql as shop

# Orders of one transaction: bounds what it keeps in memory, and how long it holds the log's head.
BATCH = 20_000
# The first order was placed so many days ago, the last one some hours ago: nothing of an order is in the future. It is
# the log's usual retention, so nothing is old enough to be purged.
DAYS, ENDED_HOURS_AGO = 89, 6
# PostgreSQL's limit for one statement while loading; the store's own is made for its short ones.
STATEMENT_TIMEOUT = "15min"

# In the order of the foreign keys.
STEPS = (
    shop.STORY,
    shop.FACT,
    shop.ORDERS,
    shop.LINES,
    shop.MOVEMENTS,
    shop.SHIPMENTS,
    shop.SCREENINGS,
    shop.CONCERNS,
    shop.DECISIONS,
    money.PAYMENTS,
    money.REFUNDS,
    money.DISPUTES,
    money.ATTEMPTS,
    money.BANK_EVENTS,
    money.MAIL,
    money.MESSAGES,
    money.MAIL_ATTEMPTS,
    money.MAIL_EVENTS,
    money.EVENTS,
    money.HEAD,
    money.CURSORS,
    "DROP TABLE story, fact, mail",
)


class NotEmpty(Exception):
    """The database holds orders already; the message says so."""


def load(*, orders: int, done: Callable[[int], None] = lambda orders: None) -> None:
    """Write that many orders with all that belongs to them; `done` is told how many are there.

    The warehouse's feed has a reader afterwards, who has read it all. Raises NotEmpty where there are other orders: a
    made-up history among real ones could never be taken out again.
    """
    from django.conf import settings

    from outbox import feed_tokens, subscriptions
    from shop.catalogue.seed import seed
    from shop.feeds import WAREHOUSE
    from shop.models import Order

    if Order.objects.exists():
        raise NotEmpty("This database holds orders already. Load the history into a fresh one.")
    seed(stock=500)
    subscriptions.ensure_all()
    feed_tokens.create(feed=WAREHOUSE, name="history")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT now() - make_interval(days => %s), make_interval(secs => %s)",
            [DAYS, (DAYS * 24 - ENDED_HOURS_AGO) * 3600 / orders],
        )
        begin, pause = cursor.fetchone()
        for first in range(1, orders + 1, BATCH):
            last = min(first + BATCH - 1, orders)
            with transaction.atomic():
                cursor.execute("SET LOCAL synchronous_commit = off")
                cursor.execute("SET LOCAL statement_timeout = %s", [STATEMENT_TIMEOUT])
                cursor.execute("SELECT FROM outbox_loghead FOR UPDATE")
                values = {
                    "first": first,
                    "last": last,
                    "orders": orders,
                    "begin": begin,
                    "pause": pause,
                    "currency": settings.STORE_CURRENCY,
                    "address": settings.STORE_ADDRESS,
                }
                for statement in STEPS:
                    cursor.execute(statement, values)
            done(last)
        cursor.execute(money.PARKED)


def analyse() -> None:
    """What autovacuum would do in time: visibility maps for index-only scans, and the planner's statistics."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'")
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("RESET statement_timeout")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.history", description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000_000, metavar="N", help="(%(default)s)")
    orders = parser.parse_args().orders
    if orders < 1:
        parser.error("--orders is a number from 1")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    django.setup()
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=console) as progress:
            loading = progress.add_task("orders", total=orders)
            load(orders=orders, done=lambda there: progress.update(loading, completed=there))
        with console.status("VACUUM ANALYZE …"):
            analyse()
    except NotEmpty as refused:
        console.print(str(refused))
        return 2
    except Error as error:
        console.print(f"The database could not be used: {error}\nSee that `manage.py migrate` has been run.")
        return 2
    except KeyboardInterrupt:
        console.print("Interrupted. What was loaded stays: drop the database before you begin again.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
