"""Publishing: a fact's record is written by the transaction that makes the fact true."""

import functools
from collections.abc import Iterable

from django.db import connection, transaction

from outbox import doorbell, prepared
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
    staged = [_record(event, context) for event, context in events]
    if staged:
        prepared.run(_stage(), {"events": prepared.as_json(staged)})
        ring()


@functools.cache
def _stage() -> bytes:
    source = f"{prepared.given(OutboxRecord, 'events')} ORDER BY given.ordinality"
    return prepared.insertion(OutboxRecord, source).encode()


def records(*events: DomainEvent) -> list[prepared.Row]:
    """What `publish` would write now, for a statement that does so itself (`insertion`) and then calls `ring`."""
    context = current()
    return [_record(event, context) for event in events]


def insertion(parameter: str, *, source: str, key: str, aggregate_id: str) -> str:
    """SQL that stages `records` whose aggregate only `source` knows: `key` is their events' field of its id, a number,
    and `aggregate_id` the expression for it."""
    return prepared.insertion(
        OutboxRecord,
        f"{source}, {prepared.given(OutboxRecord, parameter)} ORDER BY given.ordinality",
        aggregateid=f"{aggregate_id}::text",
        payload=f"given.payload || jsonb_build_object('{key}', {aggregate_id})",
    )


def ring() -> None:
    """Wake the relay, once this transaction has committed."""
    transaction.on_commit(lambda: doorbell.ring(RELAY))


def _record(event: DomainEvent, context: Context) -> prepared.Row:
    return prepared.row(
        OutboxRecord,
        aggregatetype=event.AGGREGATE,
        aggregateid=event.aggregate_id,
        type=type_of(type(event)),
        version=event.VERSION,
        payload=encode(event),
        headers=context.headers(),
    )
