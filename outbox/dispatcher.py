"""The dispatcher feeds the log to its handlers: exactly once, because a handler's writes and its cursor
move in one transaction.

A failed batch is halved until the culprit stands alone and is parked; everything else of the batch goes
through in the same transaction. Errors that pass by themselves (deadlocks, lost connections) abort the
transaction instead: nothing happened, and the loop tries again.
"""

import logging
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db import DatabaseError, transaction
from django.db.models.functions import Now

from outbox import parking, registry, subscriptions
from outbox.context import Context
from outbox.crash_points import crash_point
from outbox.database import is_transient
from outbox.events import Delivery, DomainEvent, UnknownEventVersion, decode
from outbox.models import Envelope, Event, LogHead, ParkedEvent, Subscription

logger = logging.getLogger(__name__)

# Events per transaction: enough to make set-based handlers pay, few enough that a batch takes well under a
# second and a failure repeats little.
BATCH = 200
# Parked events tried before each batch, so that repairs cannot starve the log.
PARKED_BATCH = 20


@dataclass(frozen=True, slots=True)
class _Item:
    position: int
    row: Envelope

    def delivery(self) -> Delivery[DomainEvent]:
        """Typed. Raises UnknownEventVersion or MalformedEvent."""
        row = self.row
        return Delivery(
            position=self.position,
            id=row.id,
            aggregateid=row.aggregateid,
            created_at=row.created_at,  # type: ignore[attr-defined]  # every concrete envelope has it
            context=Context.from_headers(row.headers),
            event=decode(row.type, row.version, row.payload),
        )


def dispatch_once(name: str, *, limit: int = BATCH) -> int:
    """Handle one batch for the subscription; return the number of events handled or parked.

    Returns 0 at once when another process holds the cursor or the subscription is paused. Raises
    LookupError for an unknown handler, and transient database errors after a rollback.
    """
    subscriber = registry.subscriber(name)
    if not subscriptions.has_work(name):
        return 0
    with transaction.atomic():
        subscription = subscriptions.lock_if_free(name)
        if subscription is None or subscription.paused:
            return 0
        batch = _Batch(subscriber, subscription)
        handled = batch.retry_parked()
        # Read before the events: every position up to this head is committed and visible to the next statement.
        head = LogHead.objects.get().position
        if head == subscription.position:
            return handled
        events = list(
            Event.objects.filter(
                position__gt=subscription.position, position__lte=head, type__in=subscriber.types
            ).order_by("position")[:limit]
        )
        through = events[-1].position if len(events) == limit else head
        crash_point("D1")
        batch.deliver([_Item(event.position, event) for event in events])
        Subscription.objects.filter(pk=name).update(position=through, moved_at=Now())
        crash_point("D2")
    crash_point("D3")
    return handled + len(events)


class _Batch:
    """One transaction's deliveries to one subscriber."""

    def __init__(self, subscriber: registry.Subscriber, subscription: Subscription) -> None:
        self._subscriber = subscriber
        self._subscription = subscription
        self._blocked: set[str] = set()

    def retry_parked(self) -> int:
        due = parking.due(self._subscription, limit=PARKED_BATCH)
        for parked in due:
            self._retry(parked)
        return len(due)

    def _retry(self, parked: ParkedEvent) -> None:
        failure = self._attempt([_Item(parked.position, parked)])
        if failure is None:
            parking.resolved(parked)
        else:
            bounded = not isinstance(failure, UnknownEventVersion)
            parking.failed_again(parked, error=_describe(failure), bounded=bounded)

    def deliver(self, items: Sequence[_Item]) -> None:
        if not items:
            return
        streams = list({item.row.aggregateid for item in items})
        self._blocked = parking.blocked_streams(self._subscription, streams)
        for wave in _waves(items) if self._subscriber.one_per_stream else [items]:
            self._deliver(wave)

    def _deliver(self, items: Sequence[_Item]) -> None:
        free = [item for item in items if item.row.aggregateid not in self._blocked]
        if len(free) < len(items):
            held = [item for item in items if item.row.aggregateid in self._blocked]
            parking.queue(self._subscription, [(item.position, item.row) for item in held])
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
            self._subscription.name,
            culprit.position,
            culprit.row.type,
            culprit.row.aggregateid,
            exc_info=failure,
        )
        parking.park(self._subscription, culprit.row, position=culprit.position, error=_describe(failure))
        self._blocked.add(culprit.row.aggregateid)

    def _attempt(self, items: Sequence[_Item]) -> Exception | None:
        """Run the handler in a savepoint; return what went wrong. Transient errors are raised."""
        try:
            with transaction.atomic():
                self._subscriber.handle([item.delivery() for item in items])
        except DatabaseError as error:
            if is_transient(error):
                raise
            return error
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, its stream alone may wait for it
            return error
        return None


def _waves(items: Sequence[_Item]) -> Iterator[list[_Item]]:
    """Split into lists with at most one event of a stream each, keeping each stream's order."""
    waves: list[list[_Item]] = []
    seen: dict[str, int] = {}
    for item in items:
        turn = seen.get(item.row.aggregateid, 0)
        seen[item.row.aggregateid] = turn + 1
        if turn == len(waves):
            waves.append([])
        waves[turn].append(item)
    yield from waves


def _describe(error: Exception) -> str:
    return "".join(traceback.format_exception(error))
