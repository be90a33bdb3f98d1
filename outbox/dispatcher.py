"""The dispatcher feeds the log to its handlers: exactly once, because a handler's writes and its cursor
move in one transaction.

A failed batch is begun anew, with savepoints, and halved until the culprit stands alone and is parked; everything
else of the batch goes through in the same transaction. Errors that pass by themselves (deadlocks, lost connections)
abort the transaction instead: nothing happened, and the loop tries again.
"""

import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress

from django.db import DatabaseError, transaction

from outbox import log, parking, registry, subscriptions
from outbox.crash_points import crash_point
from outbox.database import is_transient
from outbox.events import UnknownEventVersion
from outbox.log import Logged
from outbox.models import ParkedEvent

logger = logging.getLogger(__name__)

# Events per transaction: enough to make set-based handlers pay, few enough that a batch takes well under a
# second and a failure repeats little.
BATCH = 500
# Parked events tried before each batch, so that repairs cannot starve the log.
PARKED_BATCH = 20


def dispatch_once(name: str, *, limit: int = BATCH) -> int:
    """Handle one batch for the subscription; return the number of events handled or parked.

    Returns 0 at once when another process holds the cursor or the subscription is paused. Raises
    LookupError for an unknown handler, and transient database errors after a rollback.
    """
    subscriber = registry.subscriber(name)
    if not subscriptions.has_work(name):
        return 0
    with suppress(_BatchFailed):
        return _dispatch(subscriber, limit=limit, wary=False)
    return _dispatch(subscriber, limit=limit, wary=True)


def _dispatch(subscriber: registry.Subscriber, *, limit: int, wary: bool) -> int:
    """Raises _BatchFailed, after a rollback, where an event failed and nobody was wary of it."""
    name = subscriber.name
    with transaction.atomic():
        position = subscriptions.take(name)
        if position is None:
            return 0
        ahead = log.ahead(name, after=position, types=subscriber.types, limit=limit)
        batch = _Batch(subscriber, parked=ahead.parked, wary=wary or ahead.parked)
        handled = batch.retry_parked()
        if ahead.through == position:
            return handled
        crash_point("D1")
        batch.deliver(ahead.events)
        subscriptions.move(name, position=ahead.through)
        crash_point("D2")
    crash_point("D3")
    return handled + len(ahead.events)


class _BatchFailed(Exception):
    """Something in the batch cannot be handled, and it was tried without savepoints."""


class _Batch:
    """One transaction's deliveries to one subscriber.

    `parked` says whether anything was parked when it began. Being `wary` costs a savepoint for each list that the
    handler is given; whoever is not must begin anew when it fails.
    """

    def __init__(self, subscriber: registry.Subscriber, *, parked: bool, wary: bool) -> None:
        self._subscriber = subscriber
        self._parked = parked
        self._wary = wary
        self._blocked: set[str] = set()

    def retry_parked(self) -> int:
        if not self._parked:
            return 0
        due = parking.due(self._subscriber.name, limit=PARKED_BATCH)
        for parked in due:
            self._retry(parked)
        return len(due)

    def _retry(self, parked: ParkedEvent) -> None:
        failure = self._attempt([Logged.of(parked)])
        if failure is None:
            parking.resolved(parked)
        else:
            bounded = not isinstance(failure, UnknownEventVersion)
            parking.failed_again(parked, error=_describe(failure), bounded=bounded)

    def deliver(self, events: Sequence[Logged]) -> None:
        if not events:
            return
        if self._parked:
            streams = list({event.aggregateid for event in events})
            self._blocked = parking.blocked_streams(self._subscriber.name, streams)
        for wave in _waves(events) if self._subscriber.one_per_stream else [events]:
            self._deliver(wave)

    def _deliver(self, events: Sequence[Logged]) -> None:
        free = [event for event in events if event.aggregateid not in self._blocked]
        if len(free) < len(events):
            held = [event for event in events if event.aggregateid in self._blocked]
            parking.queue(self._subscriber.name, held)
        if not free:
            return
        failure = self._attempt(free)
        if failure is None:
            return
        if len(free) > 1:
            middle = len(free) // 2
            self._deliver(free[:middle])
            self._deliver(free[middle:])
            return
        (culprit,) = free
        logger.error(
            "action=park subscription=%s position=%s type=%s stream=%s",
            self._subscriber.name,
            culprit.position,
            culprit.type,
            culprit.aggregateid,
            exc_info=failure,
        )
        parking.park(self._subscriber.name, culprit, error=_describe(failure))
        self._blocked.add(culprit.aggregateid)

    def _attempt(self, events: Sequence[Logged]) -> Exception | None:
        """Run the handler, return what went wrong. Transient errors are raised, and _BatchFailed."""
        try:
            with transaction.atomic() if self._wary else nullcontext():
                self._subscriber.handle([event.delivery() for event in events])
        except DatabaseError as error:
            if is_transient(error):
                raise
            return self._failed(error)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, its stream alone may wait for it
            return self._failed(error)
        return None

    def _failed(self, error: Exception) -> Exception:
        if not self._wary:
            raise _BatchFailed from error
        return error


def _waves(events: Sequence[Logged]) -> Iterator[list[Logged]]:
    """Split into lists with at most one event of a stream each, keeping each stream's order."""
    waves: list[list[Logged]] = []
    seen: dict[str, int] = {}
    for event in events:
        turn = seen.get(event.aggregateid, 0)
        seen[event.aggregateid] = turn + 1
        if turn == len(waves):
            waves.append([])
        waves[turn].append(event)
    yield from waves


def _describe(error: Exception) -> str:
    return "".join(traceback.format_exception(error))
