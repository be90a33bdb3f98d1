"""Carries out the plan on a running store, and looks at the books all the while."""

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
from collections import Counter
from collections.abc import Callable, Sequence

from shop.local.store import LocalStore
from tests.chaos.plan import Act
from tests.e2e.faults import Faults

# Seconds between the end of one check of the books and the next: each takes some itself.
LOOK_PAUSE = 6.0


class Violation(Exception):
    """The books are not right."""


class World:
    """Call it now and then. `counts` is what was done, by kind and to whom."""

    def __init__(self, store: LocalStore, acts: Sequence[Act], *, report: Callable[[str], None]) -> None:
        self.counts: Counter[str] = Counter()
        self._store = store
        self._left = list(acts)
        self._report = report
        self._faults = Faults(store.control_address)
        self._started = time.monotonic()

    @property
    def is_over(self) -> bool:
        return not self._left

    def __call__(self) -> None:
        while self._left and self._left[0].at <= time.monotonic() - self._started:
            act = self._left[0]
            if not self._do(act):
                return  # nobody is there to be killed: in a moment
            del self._left[0]

    def calm(self) -> None:
        """No further faults."""
        for _ in range(100):
            try:
                self._faults.clear()
            except (urllib.error.URLError, OSError):
                again = time.monotonic() + 0.2  # the bank is being started again
                self._store.run_until(lambda again=again: time.monotonic() > again)  # type: ignore[misc]
            else:
                return
        raise Violation("the sandbox did not come back")

    def _do(self, act: Act) -> bool:
        match act.kind:
            case "kill":
                return self._kill(act.who)
            case "stop":
                return self._stop_database()
        with contextlib.suppress(urllib.error.URLError, OSError):  # the bank itself is dead at the moment
            self._faults.clear()
            for rule in act.rules:
                self._faults.add(**rule)
            self.counts["changes of the weather"] += 1
        return True

    def _kill(self, who: str) -> bool:
        pid = self._store.web_worker_pid if who == "web worker" else self._store.pid(who)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            self.counts[f"kill {who}"] += 1
        return True

    def _stop_database(self) -> bool:
        pid = self._store.database_pid
        if pid is None:
            return False
        os.kill(pid, signal.SIGKILL)
        self.counts["database stops"] += 1
        return True


class Witness:
    """Checks what must hold at any moment, over and over, as a process of its own. Call it now and then; raises
    Violation."""

    def __init__(self, store: LocalStore) -> None:
        self.looks: Counter[str] = Counter()
        self._store = store
        self._process: subprocess.Popen[bytes] | None = None
        self._again_at = 0.0

    def __call__(self) -> None:
        if self._process is None:
            if time.monotonic() >= self._again_at:
                self._process = self._store.begin("check_money", "--live")
        elif (status := self._process.poll()) is not None:
            self._store.wait(self._process)
            self._process, self._again_at = None, time.monotonic() + LOOK_PAUSE
            self._judge(status)

    def finish(self) -> None:
        """Wait for the look that is under way."""
        if self._process is not None:
            status = self._store.wait(self._process)
            self._process = None
            self._judge(status)

    def _judge(self, status: int) -> None:
        match status:
            case 0:
                self.looks["held"] += 1
            case 2:
                self.looks["could not look"] += 1  # the bank or the database was away
            case _:
                raise Violation(self._store.log("check_money").read_text()[-5000:])
