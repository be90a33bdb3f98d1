"""A second session with an open transaction, moved step by step."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import connection, transaction


class Writer:
    """Does `work` in a transaction of its own and leaves that open, until `end`."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1)  # one thread, one connection
        self._atomic = transaction.atomic()
        self._thread.submit(self._begin, work).result()

    def _begin(self, work: Callable[[], None]) -> None:
        self._atomic.__enter__()
        work()

    def end(self, *, commit: bool) -> None:
        self._thread.submit(self._end, commit).result()
        self._thread.shutdown()

    def _end(self, commit: bool) -> None:
        if not commit:
            transaction.set_rollback(True)
        self._atomic.__exit__(None, None, None)
        connection.close()
