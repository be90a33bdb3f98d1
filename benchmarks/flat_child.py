"""A process of the store on one database that takes a step of work whenever it is told to, and says what that cost.

    python -m benchmarks.flat_child

Each line of its input is a step and a number, each line of its output the answer as JSON. `benchmarks.flat` starts one
for each database, so that steps on all of them take turns.
"""

import datetime as dt
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import django

# Rows of one claim, and claims of one step: a busy worker makes as many in a second, and looks from the beginning once.
CLAIMED, CLAIMS = 20, 10
# Rows of one batch of the churn.
CHURNED = 500
LEASE = dt.timedelta(hours=1)
# How far behind the head the reader is put: more than one batch of what it reads, which is two events of seven.
BEHIND = 2000
READER = "bench-flat"
# An admin list shows so many rows: one that is not full reads less.
FULL_PAGE = 100


class NothingDone(Exception):
    """A step found less work than it was to do; its cost means nothing."""


class Steps:
    """Every step by its name; those of `measured` are timed."""

    def __init__(self) -> None:
        from django.conf import settings
        from django.db import connection

        from benchmarks.admin_pages import Pages
        from notifications.models import Message
        from outbox import registry, subscriptions
        from outbox.dispatcher import dispatch_once
        from outbox.horizon import Horizon
        from outbox.relay import BATCH, relay_once
        from payments.models import Payment
        from shop.events import InventoryReserved, OrderPlaced

        def ignore(deliveries: Sequence[Any]) -> None:
            """Only the reading counts."""

        registry.subscribe(READER, OrderPlaced, InventoryReserved)(ignore)
        subscriptions.ensure_all()
        self._cursor = connection.cursor
        self._batch = BATCH
        self._relay = relay_once
        self._read: Callable[[], int] = partial(dispatch_once, READER)
        self._claimed: dict[str, type[Any]] = {"claim payments": Payment, "claim messages": Message}
        self._horizons = {name: Horizon() for name in self._claimed}
        self._pages = Pages(host=settings.ALLOWED_HOSTS[0])
        self._lists: list[Callable[[], None]] = []
        self._page = next(each for each in self._pages.others() if each.name == "the customer's order page").open
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (backend,) = cursor.fetchone()
        self._schedule = Path(f"/proc/{backend}/schedstat")

    def full_lists(self) -> list[str]:
        """The models whose list fills a page here."""
        from benchmarks.admin_pages import lists

        return [each._meta.label for each in lists() if each._default_manager.all()[:FULL_PAGE].count() == FULL_PAGE]

    def show(self, labels: Sequence[str]) -> None:
        """The lists that `lists` opens from now on."""
        from benchmarks.admin_pages import lists

        pages = (page for model in lists() if model._meta.label in labels for page in self._pages.of_list(model))
        self._lists = [page.open for page in pages if page.name in labels]

    def measured(self, name: str) -> dict[str, float | None]:
        """What one step costs: seconds of processors and of the clock, and blocks that the server looked at."""
        work = self._work(name)
        looked = self._blocks()
        server, cpu, began = self._server_cpu(), time.process_time(), time.perf_counter()
        work()
        seconds, client = time.perf_counter() - began, time.process_time() - cpu
        used = self._server_cpu()
        return {
            "seconds": seconds,
            "client": client,
            "server": None if server is None or used is None else used - server,
            "blocks": self._blocks() - looked,
        }

    def _work(self, name: str) -> Callable[[], None]:
        if name in self._claimed:
            return partial(self._claim, name, CLAIMED, times=CLAIMS)
        if name == "relay":
            return lambda: _expect(self._batch, self._relay())
        if name == "read":
            self._step_back()
            return lambda: _expect(1, self._read())
        if name == "order page":
            return self._page
        if name == "lists":
            return self._open_lists
        return lambda: None

    def _open_lists(self) -> None:
        for each in self._lists:
            each()

    def churn(self, rows: int) -> None:
        """So many rows are claimed, of each kind, and so many records relayed."""
        for _ in range(rows // CHURNED):
            self._relay(limit=CHURNED)
            for name in self._claimed:
                self._claim(name, CHURNED)

    def memory(self, turns: int) -> float:
        """MB of this process after so many turns."""
        for _ in range(turns):
            self._relay(limit=CLAIMED)
            for name in self._claimed:
                self._claim(name, CLAIMED)
            self._step_back()
            self._read()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def _claim(self, name: str, limit: int, *, times: int = 1) -> None:
        from django.db import transaction

        from outbox import claims

        for _ in range(times):
            with transaction.atomic():
                rows = claims.claim(
                    self._claimed[name], limit=limit, lease=LEASE, worker="bench", horizon=self._horizons[name]
                )
                _expect(limit, len(rows))

    def _step_back(self) -> None:
        with self._cursor() as cursor:
            cursor.execute(
                "UPDATE outbox_subscription SET position = (SELECT position - %s FROM outbox_loghead) WHERE name = %s",
                [BEHIND, READER],
            )

    def _blocks(self) -> int:
        """What this session has read of its tables and indexes so far, from memory or from disk."""
        with self._cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
            cursor.execute(
                "SELECT sum(hits + reads)::bigint FROM pg_stat_get_backend_io(pg_backend_pid())"
                " WHERE object = 'relation'"
            )
            return int(cursor.fetchone()[0])

    def _server_cpu(self) -> float | None:
        """Seconds that this session's process has used; None where it is on another machine."""
        try:
            return int(self._schedule.read_text().split()[0]) / 1e9
        except OSError:
            return None


def _expect(due: int, done: int) -> None:
    if done < due:
        raise NothingDone(f"{done} were done instead of {due}")


def main() -> int:
    django.setup()
    steps = Steps()
    for line in sys.stdin:
        name, argument = json.loads(line)
        answer: Any = getattr(steps, name)(*argument)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
