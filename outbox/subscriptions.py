"""Cursors: where each subscriber stands, and what a person may do to one.

Everything here takes the cursor's lock first, as the dispatcher does, so a repair never meets a batch that
is under way. Lock order: cursor → head → the domain's rows.
"""

from typing import Any

from django.db import connection, transaction
from django.db.models import F, Min

from outbox import decisions, prepared, registry
from outbox.models import LogHead, ParkedEvent, Subscription

# What a reader asks at every turn.
_HAS_WORK = b"""
SELECT NOT paused AND (
    position < (SELECT position FROM outbox_loghead)
    OR EXISTS (SELECT FROM outbox_parkedevent
               WHERE subscription_id = name AND status = 'retrying' AND due_at <= statement_timestamp())
)
FROM outbox_subscription WHERE name = %(name)s
"""
_TAKE = b"""
SELECT position FROM outbox_subscription WHERE name = %(name)s AND NOT paused FOR NO KEY UPDATE SKIP LOCKED
"""
_MOVE = b"""
UPDATE outbox_subscription SET position = %(position)s::bigint, moved_at = statement_timestamp() WHERE name = %(name)s
"""


class ReplayTooFar(ValueError):
    """The position lies outside the log that is still kept."""


def ensure_all(**_: Any) -> None:
    """Create the head and every missing subscription; safe to run at any time, from several processes.

    A new subscription's place is read under the head's lock, so that `now` has one meaning.
    """
    if LogHead._meta.db_table not in connection.introspection.table_names():
        return  # post_migrate of a backwards migration
    with transaction.atomic():
        LogHead.objects.bulk_create([LogHead()], ignore_conflicts=True)
        head = LogHead.objects.select_for_update().get()
        # A restored database counts its transactions from elsewhere: what was cleared is found out again.
        LogHead.objects.update(cleared_through=0, clearing_through=0, clearing_since=0)
        places = {"now": head.position, "beginning": head.purged_through}
        Subscription.objects.bulk_create(
            [Subscription(name=each.name, position=places[each.start]) for each in registry.readers()],
            ignore_conflicts=True,
        )


def lock(name: str) -> Subscription:
    """The subscription's row, locked, after whoever holds it. Raises Subscription.DoesNotExist for a name that
    was never created (run `migrate`)."""
    return Subscription.objects.select_for_update(no_key=True).get(pk=name)


def take(name: str) -> int | None:
    """The cursor's position, its row locked. None while another process holds it, or while it is paused."""
    found = prepared.run(_TAKE, {"name": name})
    return found[0][0] if found else None


def move(name: str, *, position: int) -> None:
    """Everything up to this position is handled or parked."""
    prepared.run(_MOVE, {"name": name, "position": str(position)})


def has_work(name: str) -> bool:
    """Whether there is anything to handle now. One look, where taking the lock would be a write to the disk at every
    poll of an idle reader. Raises Subscription.DoesNotExist for a name that was never created."""
    found = prepared.run(_HAS_WORK, {"name": name})
    if not found:
        raise Subscription.DoesNotExist(f"No subscription is called {name!r}: run `manage.py migrate`.")
    return bool(found[0][0])


def set_paused(*, name: str, paused: bool, actor: str, reason: str) -> None:
    """Stop or resume feeding a subscriber; waits for a batch that is under way. Nothing is lost meanwhile."""
    with transaction.atomic():
        row = lock(name)
        Subscription.objects.filter(pk=name).update(paused=paused)
        decisions.record(
            kind="pause" if paused else "resume",
            about=row,
            actor=actor,
            reason=reason,
            before="paused" if row.paused else "running",
            after="paused" if paused else "running",
        )


def replay(*, name: str, position: int, actor: str, reason: str) -> None:
    """Feed the subscriber everything from `position` on again (its effects must be idempotent).

    Parked events at or after the position are removed, because they come again from the log. Raises
    ReplayTooFar where the log no longer, or not yet, holds that position.
    """
    with transaction.atomic():
        row = lock(name)
        # Locked, so that no purge decides on the old cursor meanwhile.
        head = LogHead.objects.select_for_update().get()
        if not head.purged_through < position <= row.position + 1:
            raise ReplayTooFar(
                f"{name} can be replayed from {head.purged_through + 1} to {row.position + 1}, not {position}."
            )
        ParkedEvent.objects.filter(subscription=row, position__gte=position).delete()
        Subscription.objects.filter(pk=name).update(position=position - 1)
        decisions.record(
            kind="replay",
            about=row,
            actor=actor,
            reason=reason,
            before=f"at {row.position}",
            after=f"at {position - 1}",
        )


def skip_to_end(*, name: str, actor: str, reason: str) -> None:
    """Move the cursor to the log's end: what lies between is never read, and holds the purge no longer. For a feed
    that nobody reads."""
    with transaction.atomic():
        row = lock(name)
        head = LogHead.objects.select_for_update().get()
        Subscription.objects.filter(pk=name).update(position=head.position)
        decisions.record(
            kind="skip-to-end",
            about=row,
            actor=actor,
            reason=reason,
            before=f"at {row.position}",
            after=f"at {head.position}",
        )


def slowest_position() -> int | None:
    """The lowest cursor of all subscriptions; None when there are none. What lies above is undelivered."""
    lowest: int | None = Subscription.objects.aggregate(lowest=Min(F("position")))["lowest"]
    return lowest
