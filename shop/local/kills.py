"""`kill -9` of the store's processes while shoppers order: what must change nothing."""

import os
import signal
from collections.abc import Callable

import psycopg

from shop.local.store import LocalStore


class Kills:
    """Call it now and then: a payments worker, the outbox worker, the warehouse and a web worker die as orders come
    in."""

    def __init__(self, *, store: LocalStore, orders: int, report: Callable[[str], None]) -> None:
        self._store = store
        self._report = report
        self._known = self._count()
        # After so many of the expected orders, whom to kill.
        self._plan: list[tuple[int, str, Callable[[], int | None]]] = [
            (orders * 1 // 4, "the payments worker", lambda: store.pid("payments")),
            (orders * 2 // 4, "the outbox worker", lambda: store.pid("outbox")),
            (orders * 5 // 8, "the warehouse", lambda: store.pid("warehouse")),
            (orders * 3 // 4, "a web worker", lambda: store.web_worker_pid),
        ]

    @property
    def pending(self) -> list[str]:
        """Who lives still. Empty when all was done."""
        return [name for _, name, _ in self._plan]

    def __call__(self) -> None:
        try:
            placed = self._count() - self._known
        except psycopg.Error:
            return
        while self._plan and placed >= self._plan[0][0]:
            _, name, find = self._plan[0]
            pid = find()
            if pid is None:
                return  # it is just being started again
            os.kill(pid, signal.SIGKILL)
            self._report(f"kill -9 of {name} after {placed} orders")
            del self._plan[0]

    def _count(self) -> int:
        ((orders,),) = self._store.query("SELECT count(*) FROM shop_order")
        return int(orders)
