"""Purging: only what every subscription has passed and what is older than the retention leaves the log."""

import datetime as dt

from django.db import connection, transaction
from django.db.models.functions import Now

from outbox import subscriptions
from outbox.models import Event, Heartbeat, LogHead

# Events per transaction, so that a large purge never holds the head for long.
BATCH = 5000
# A process that has not beaten for so long is dead, and everybody who wanted to know has seen it.
DEAD_AFTER = dt.timedelta(days=1)


def purge_once(*, retention: dt.timedelta, limit: int = BATCH) -> int:
    """Delete one batch of old, fully delivered events from the log's beginning; return how many.

    Undelivered events never expire. Parked ones have their own copy. Takes the head's lock, so a
    subscription being created meanwhile starts above what was purged.
    """
    with transaction.atomic():
        head = LogHead.objects.select_for_update().get()
        slowest = subscriptions.slowest_position()
        delivered = head.position if slowest is None else slowest
        bound = min(delivered, head.purged_through + limit)
        # Positions follow commits and created_at the begin of each transaction, so the two can differ in
        # order by a little: the purge stops before the first event that is too young.
        young = (
            Event.objects.filter(
                position__gt=head.purged_through, position__lte=bound, created_at__gt=Now() - retention
            )
            .order_by("position")
            .values_list("position", flat=True)
            .first()
        )
        through = bound if young is None else young - 1
        if through <= head.purged_through:
            return 0
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL outbox.purging = 'on'")  # the trigger's one permitted path
        deleted, _ = Event.objects.filter(position__lte=through).delete()
        LogHead.objects.update(purged_through=through)
    return deleted


def forget_dead_processes() -> int:
    """Delete the heartbeats of processes that died long ago; return how many."""
    deleted, _ = Heartbeat.objects.filter(beat_at__lt=Now() - DEAD_AFTER).delete()
    return deleted
