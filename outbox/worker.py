"""The engine around a claim: claim ▸ commit ▸ call ▸ record, with several calls under way at once.

All database work happens in the loop's own thread, in batches; only the calls run in a pool, each without
any transaction. What a call returned is held in memory and written again until it is stored: only the
death of the process falls back on the lease and on asking the other side.
"""

import logging
import queue
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from django.db import connection

from outbox import metrics
from outbox.database import is_transient
from outbox.doorbell import Woken

logger = logging.getLogger(__name__)

CallT = TypeVar("CallT")
AnswerT = TypeVar("AnswerT")

# Seconds that a stopping worker keeps trying to store answers while the database is away. After that the
# lease and the provider's own records must do.
_STORE_PATIENCE = 60.0
# Seconds between two looks for due rows while only answers come in: a token that the limiter was short of, or a time
# that has come, is seen as soon as that.
_LOOK_AGAIN = 0.025


class Caller(Protocol[CallT, AnswerT]):
    """What one kind of claimed row does; the engine decides when."""

    def claim(self, *, limit: int) -> list[CallT]:
        """Claim due rows and journal their first calls, committed; at most `limit` calls."""

    def perform(self, call: CallT) -> AnswerT:
        """Make one call. Runs in a pool thread, without the database. Should answer, not raise."""

    def failed(self, call: CallT, error: Exception) -> AnswerT:
        """The answer for a call whose `perform` raised: our own bug, so its outcome is unknown."""

    def record(self, results: Sequence[tuple[CallT, AnswerT]]) -> list[CallT]:
        """Store the answers in one transaction and return follow-up calls, journalled. Must be repeatable:
        after a lost acknowledgement it runs again with the same results."""

    def unrecordable(self, call: CallT, answer: AnswerT, error: Exception) -> None:
        """Storing this one answer fails by our own bug: set the row aside for a person, in a transaction."""


class Engine(Generic[CallT, AnswerT]):
    """Runs a Caller; a `Work` for a loop."""

    def __init__(self, caller: Caller[CallT, AnswerT], *, in_flight: int, name: str) -> None:
        self._caller = caller
        self._in_flight = in_flight
        self._name = name
        self._pool = ThreadPoolExecutor(max_workers=in_flight, thread_name_prefix=name)
        self._finished: queue.SimpleQueue[tuple[CallT, AnswerT]] = queue.SimpleQueue()
        self._running = 0
        self._held: list[tuple[CallT, AnswerT]] = []
        self._on_finished: Callable[[], None] = lambda: None
        # Whether there may be due rows, and when that was seen last (monotonic).
        self._look, self._looked_at = True, 0.0

    def wake_with(self, ring: Callable[[], None]) -> None:
        """`ring` is called from a pool thread whenever a call has its answer."""
        self._on_finished = ring

    def run_once(self, *, woken: Woken = Woken.BY_OTHERS) -> int:
        """Record what has been answered, then claim as much as there is room for. Never waits for a call.

        An answer is no reason to look for due rows, unless the last look left some or is a while ago.
        """
        moved = self._record_finished()
        free = self._in_flight - self._running
        if woken is not Woken.BY_ITSELF or time.monotonic() - self._looked_at > _LOOK_AGAIN:
            self._look = True
        if self._look and free > 0:
            calls = self._caller.claim(limit=free)
            self._look, self._looked_at = len(calls) == free, time.monotonic()
            self._start(calls)
            moved += len(calls)
        return moved

    def run_until_idle(self, *, seconds: float = 30.0) -> int:
        """Work until nothing is due and nothing is under way, at most `seconds`; returns how much was moved."""
        deadline = time.monotonic() + seconds
        moved = 0
        while time.monotonic() < deadline:
            step = self.run_once()
            moved += step
            if self._running:
                self._wait_for_answer(deadline)
            elif not step:
                break
        return moved

    def close(self) -> None:
        """Wait for the calls under way (they have deadlines), store their answers, claim nothing more."""
        deadline: float | None = None
        while self._running or self._held:
            if self._running and not self._held:
                self._wait_for_answer(None)
            try:
                self._record_finished()
                deadline = None
            except Exception:
                deadline = deadline or time.monotonic() + _STORE_PATIENCE
                if time.monotonic() > deadline:
                    logger.exception("action=give_up held=%s", len(self._held))
                    break
                connection.close()
                time.sleep(0.5)
        self._pool.shutdown(wait=True)

    def _start(self, calls: Sequence[CallT]) -> None:
        for call in calls:
            self._running += 1
            self._pool.submit(self._perform, call)

    def _perform(self, call: CallT) -> None:
        begun = time.monotonic()
        try:
            answer = self._caller.perform(call)
        except Exception as error:
            logger.exception("action=call_failed call=%r", call)
            answer = self._caller.failed(call, error)
        metrics.CALL_SECONDS.labels(self._name).observe(time.monotonic() - begun)
        metrics.CALLS.labels(self._name, str(getattr(answer, "outcome", "answered"))).inc()
        self._finished.put((call, answer))
        self._on_finished()

    def _wait_for_answer(self, deadline: float | None) -> None:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            self._take(self._finished.get(timeout=timeout))
        except queue.Empty:
            return

    def _take(self, result: tuple[CallT, AnswerT]) -> None:
        self._running -= 1
        self._held.append(result)

    def _record_finished(self) -> int:
        while True:
            try:
                self._take(self._finished.get_nowait())
            except queue.Empty:
                break
        if not self._held:
            return 0
        recorded = len(self._held)
        try:
            following = self._caller.record(self._held)
        except Exception as error:
            if is_transient(error):
                raise  # still held: the loop comes back
            following = self._record_singly()
        self._held = []
        self._start(following)
        return recorded

    def _set_aside(self, call: CallT, answer: AnswerT, error: Exception) -> None:
        """Where even that fails by our own bug, the row is left to its lease and to asking the other side."""
        try:
            self._caller.unrecordable(call, answer, error)
        except Exception as second:
            if is_transient(second):
                raise
            logger.exception("action=dropped call=%r answer=%r", call, answer)

    def _record_singly(self) -> list[CallT]:
        """One answer of the batch cannot be stored: find it, set it aside, store the others."""
        following: list[CallT] = []
        while self._held:
            call, answer = self._held[0]
            try:
                following += self._caller.record([(call, answer)])
            except Exception as error:
                if is_transient(error):
                    self._start(following)
                    raise
                logger.exception("action=unrecordable call=%r answer=%r", call, answer)
                self._set_aside(call, answer, error)
            self._held.pop(0)
        return following
