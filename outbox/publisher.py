"""Publishing: a fact's record is written by the transaction that makes the fact true."""

from collections.abc import Iterable

from django.db import connection, transaction

from outbox import doorbell
from outbox.context import Context, current
from outbox.events import DomainEvent, encode, type_of
from outbox.models import OutboxRecord

# The relay's loop and doorbell.
RELAY = "relay"


class PublishOutsideTransaction(RuntimeError):
    """An event was published where no transaction could undo it together with its fact."""


def publish(*events: DomainEvent) -> None:
    """Stage events of the current context; see `publish_all`."""
    context = current()
    publish_all((event, context) for event in events)


def publish_all(events: Iterable[tuple[DomainEvent, Context]]) -> None:
    """Stage events, each with the context it belongs to, in one INSERT.

    Call it after the aggregate's row is locked: the lock is what keeps a stream's events in order.
    Raises PublishOutsideTransaction outside `transaction.atomic`.
    """
    if not connection.in_atomic_block:
        raise PublishOutsideTransaction(
            "publish() needs the transaction of the fact it reports: wrap both in transaction.atomic()."
        )
    records = [
        OutboxRecord(
            aggregatetype=event.AGGREGATE,
            aggregateid=event.aggregate_id,
            type=type_of(type(event)),
            version=event.VERSION,
            payload=encode(event),
            headers=context.headers(),
        )
        for event, context in events
    ]
    if records:
        OutboxRecord.objects.bulk_create(records)
        transaction.on_commit(lambda: doorbell.ring(RELAY))
