"""Parking: an event that cannot be handled steps aside, and its stream waits behind it.

All other streams go on. Only the lowest parked position of a stream is tried, so order within a stream
holds. Every function here is called with the cursor's lock held or takes it.
"""

import datetime as dt
from collections.abc import Sequence

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from outbox import decisions, prepared, subscriptions
from outbox.backoff import Backoff
from outbox.log import Logged
from outbox.models import ParkedEvent

# Tries before a person is asked. With the delays below: about half an hour,
# longer than most deploys and short outages, short enough that a person still remembers what was changed.
MAX_TRIES = 10
RETRY = Backoff(first=dt.timedelta(seconds=2), longest=dt.timedelta(minutes=30))

_DUE = b"""
SELECT number FROM outbox_parkedevent
WHERE subscription_id = %(subscription)s AND status = 'retrying' AND due_at <= statement_timestamp()
ORDER BY due_at, number LIMIT %(limit)s::int
"""
_BLOCKED = b"""
SELECT DISTINCT aggregateid FROM outbox_parkedevent
WHERE subscription_id = %(subscription)s AND aggregateid = ANY (%(streams)s)
"""

# Characters of an error that are kept; a traceback's end says more than its beginning.
_ERROR_LENGTH = 4000


class NotParked(LookupError):
    """The event is not parked (any more), or it is not the one of its stream to decide about."""


def blocked_streams(subscription: str, streams: Sequence[str]) -> set[str]:
    """Those of the streams in which something is parked."""
    asked = {"subscription": subscription, "streams": prepared.texts(streams)}
    return {stream for (stream,) in prepared.run(_BLOCKED, asked)}


def park(subscription: str, event: Logged, *, error: str) -> None:
    """Set aside an event whose handler failed; its stream is blocked from now on."""
    ParkedEvent.objects.create(
        subscription_id=subscription,
        status=ParkedEvent.Status.RETRYING,
        attempts=1,
        due_at=Now() + RETRY.delay(attempts=1),
        error=error[-_ERROR_LENGTH:],
        **event.columns(),
    )


def queue(subscription: str, events: Sequence[Logged]) -> None:
    """Set aside events whose streams are blocked by an earlier one."""
    ParkedEvent.objects.bulk_create(
        ParkedEvent(subscription_id=subscription, status=ParkedEvent.Status.QUEUED, **event.columns())
        for event in events
    )


def due(subscription: str, *, limit: int) -> list[ParkedEvent]:
    """Parked events whose time has come, each the lowest of its stream, oldest first."""
    numbers = [number for (number,) in prepared.run(_DUE, {"subscription": subscription, "limit": str(limit)})]
    rows = ParkedEvent.objects.in_bulk(numbers) if numbers else {}
    return [rows[number] for number in numbers]


def failed_again(parked: ParkedEvent, *, error: str, bounded: bool) -> None:
    """Note another failure. After MAX_TRIES it waits for a person; `bounded=False` (an event version of a
    newer build) is tried for ever, because the rolling deploy heals it."""
    attempts = parked.attempts + 1
    waiting = bounded and attempts >= MAX_TRIES
    ParkedEvent.objects.filter(pk=parked.pk).update(
        attempts=attempts,
        status=ParkedEvent.Status.WAITING if waiting else ParkedEvent.Status.RETRYING,
        due_at=None if waiting else Now() + RETRY.delay(attempts=attempts),
        error=error[-_ERROR_LENGTH:],
    )


def resolved(parked: ParkedEvent) -> None:
    """Take a handled or skipped event away; the next of its stream becomes due now."""
    parked.delete()
    following = (
        ParkedEvent.objects.filter(subscription_id=parked.subscription_id, aggregateid=parked.aggregateid)
        .order_by("position")
        .values("pk")[:1]
    )
    ParkedEvent.objects.filter(pk__in=following, status=ParkedEvent.Status.QUEUED).update(
        status=ParkedEvent.Status.RETRYING, due_at=Now()
    )


def _decide(*, subscription: str, position: int, kind: str, after: str, actor: str, reason: str) -> ParkedEvent:
    """Lock, check that this event is its stream's lowest, and note who decided."""
    row = subscriptions.lock(subscription)
    parked = ParkedEvent.objects.filter(subscription=row, position=position).first()
    if parked is None:
        raise NotParked(f"{subscription}: nothing is parked at {position}; somebody may have resolved it.")
    if parked.status == ParkedEvent.Status.QUEUED:
        raise NotParked(
            f"{subscription}: {position} waits behind an earlier event of {parked.aggregateid}; decide about that."
        )
    decisions.record(
        kind=kind,
        about=parked,
        story=parked.aggregateid,
        actor=actor,
        reason=reason,
        before=f"{parked.status} for {subscription} at {position}: {parked.type} {parked.id}",
        after=after,
    )
    return parked


def retry(*, subscription: str, position: int, actor: str, reason: str) -> None:
    """Make a parked event due now, with a fresh count of tries. Raises NotParked, or ValueError without a reason."""
    with transaction.atomic():
        parked = _decide(
            subscription=subscription,
            position=position,
            kind="retry",
            after="tried again now",
            actor=actor,
            reason=reason,
        )
        ParkedEvent.objects.filter(pk=parked.pk).update(
            status=ParkedEvent.Status.RETRYING, due_at=Now(), attempts=F("attempts") * 0
        )


def skip(*, subscription: str, position: int, actor: str, reason: str) -> None:
    """Give up a parked event for this subscription; its stream goes on. Raises NotParked, or ValueError
    without a reason."""
    with transaction.atomic():
        resolved(
            _decide(
                subscription=subscription,
                position=position,
                kind="skip",
                after="never handled",
                actor=actor,
                reason=reason,
            )
        )
