"""Feeds: a part of the log for readers outside, who pull it by HTTP and acknowledge what they have kept.

A page is complete from `after` through `through`, although it shows only the feed's own types: positions are
dense, so a reader who accepts a page only if its `after` is the last `through` has proof that nothing is missing.
Reading moves nothing. Acknowledging moves the feed's cursor, which the purge respects like any other.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from outbox import prepared, registry, subscriptions
from outbox.database import retried
from outbox.models import Event, LogHead, Subscription

# Events on a page: enough that a reader far behind catches up fast, few enough that a page is below a megabyte.
PAGE, LARGEST_PAGE = 100, 500

# Writes a line of the server's log of writes that nobody reads, and waits until it and all before it are on the disk.
_FLUSH = b"SELECT pg_logical_emit_message(true, 'feed', '')"


class UnknownFeed(LookupError):
    """No feed has that name."""


class FeedPaused(Exception):
    """A person has paused the feed; nothing is lost meanwhile."""


class Purged(LookupError):
    """The log no longer has what follows that position."""


class AheadOfLog(ValueError):
    """The position was never handed out: the reader has seen a log that this database does not have."""


class AlreadyAcknowledged(ValueError):
    """The cursor stands beyond that position and does not go back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The feed's events above `after`, complete through `through`, in the order of their positions."""

    after: int
    through: int
    events: tuple[Event, ...]


def declared(name: str) -> registry.Feed:
    """The feed of that name. Raises UnknownFeed, listing the known ones."""
    for feed in registry.feeds():
        if feed.name == name:
            return feed
    known = ", ".join(feed.name for feed in registry.feeds()) or "none"
    raise UnknownFeed(f"No feed is called {name!r}. Known: {known}.")


def read(*, name: str, after: int | None = None, limit: int = PAGE) -> Page:
    """The next page above `after`, or above the cursor.

    Raises UnknownFeed, FeedPaused, Purged or AheadOfLog.
    """
    feed = declared(name)
    cursor = Subscription.objects.get(pk=name)
    if cursor.paused:
        raise FeedPaused(f"The feed {name} is paused by an operator. Nothing is lost; ask again later.")
    start = cursor.position if after is None else after
    # Read before the events: every position up to this head is committed and visible to the next statement.
    head = LogHead.objects.get().position
    if start > head:
        raise AheadOfLog(f"The log ends at {head}: nothing was ever handed out at {start}.")
    events = tuple(
        Event.objects.filter(position__gt=start, position__lte=head, type__in=feed.types).order_by("position")[:limit]
    )
    # Read after the events: whatever was purged before they were read is known by now.
    purged = LogHead.objects.get().purged_through
    if start < purged:
        raise Purged(
            f"Events up to {purged} were purged; this feed has acknowledged everything up to {cursor.position}. "
            "Ask without `after` to go on from there."
        )
    if start < head:
        # The relay does not wait for the disk (decision 17), and whoever reads here remembers what the server must not
        # forget.
        prepared.run(_FLUSH, {})
    return Page(after=start, through=events[-1].position if len(events) == limit else head, events=events)


@retried()
def acknowledge(*, name: str, through: int) -> None:
    """Move the feed's cursor forwards to `through`; saying it again changes nothing.

    Raises UnknownFeed, AlreadyAcknowledged or AheadOfLog. A paused feed takes acknowledgements: what its reader has
    kept is kept.
    """
    declared(name)
    with transaction.atomic():
        cursor = subscriptions.lock(name)
        if through == cursor.position:
            return
        if through < cursor.position:
            raise AlreadyAcknowledged(f"{name} has acknowledged everything up to {cursor.position} already.")
        head = LogHead.objects.get().position
        if through > head:
            raise AheadOfLog(f"The log ends at {head}: {through} cannot be acknowledged.")
        Subscription.objects.filter(pk=name).update(position=through, moved_at=Now())


def cloud_event(event: Event) -> dict[str, Any]:
    """The event as CloudEvents 1.0 JSON (github.com/cloudevents/spec), with its documented extensions for
    sequence, tracing and correlation.

    `sequence` is the position, padded so that texts sort as numbers do; `dataversion` that of the type's data.
    """
    extensions = {
        "traceparent": event.headers.get("traceparent"),
        "correlationid": event.headers.get("correlation_id"),
        "causationid": event.headers.get("causation_id"),
    }
    return {
        "specversion": "1.0",
        "id": str(event.id),
        "source": settings.STORE_ADDRESS,
        "type": event.type,
        "subject": event.aggregateid,
        "time": event.created_at.astimezone(dt.UTC).isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "sequence": f"{event.position:019d}",
        "dataversion": event.version,
        **{name: value for name, value in extensions.items() if value},  # an attribute must not be empty
        "data": event.payload,
    }
