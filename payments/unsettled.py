"""Payments and refunds that are not settled, as a person needs them who calls the bank."""

import datetime as dt
from collections.abc import Iterator
from itertools import islice
from typing import Any, TypeVar

from django.db.models import QuerySet

from payments.models import Payment, PaymentAttempt, Refund
from payments.money import display

HEADER = (
    "kind",
    "order",
    "order id",
    "our payment id",
    "our refund id",
    "bank's payment id",
    "bank's charge id",
    "bank's refund id",
    "minor units",
    "amount",
    "currency",
    "status",
    "created at",
    "age in hours",
    "attempts",
    "blocked because",
    "asked by",
    "approved by",
    "last call",
    "last call at",
    "outcome",
    "bank's status",
    "code",
    "decline code",
    "message",
    "request id",
)
Row = TypeVar("Row", Payment, Refund)

# Rows whose journals are read together.
_BATCH = 200


def unsettled(*, now: dt.datetime) -> Iterator[tuple[Any, ...]]:
    """One row under HEADER for each payment, then for each refund, oldest first; also refunds that somebody wants to
    be looked at again. Cells are raw: outbox.tables makes them harmless."""
    yield from _payments(Payment.objects.filter(settled_at__isnull=True), now=now)
    open_refunds = Refund.objects.filter(settled_at__isnull=True) | Refund.objects.filter(due_at__isnull=False)
    yield from _refunds(open_refunds.select_related("payment"), now=now)


def _payments(rows: QuerySet[Payment], *, now: dt.datetime) -> Iterator[tuple[Any, ...]]:
    for batch in _batches(rows):
        last = _last_calls(PaymentAttempt.objects.filter(payment__in=batch, refund=None), of="payment_id")
        for each in batch:
            yield (
                *("payment", each.reference, each.order_id, each.public_id, None),
                *(each.intent_id, each.latest_charge, None),
                *_state(each, now=now),
                *("customer", None),  # who placed the order
                *_call(last.get(each.pk)),
            )


def _refunds(rows: QuerySet[Refund], *, now: dt.datetime) -> Iterator[tuple[Any, ...]]:
    for batch in _batches(rows):
        last = _last_calls(PaymentAttempt.objects.filter(refund__in=batch), of="refund_id")
        for each in batch:
            paid = each.payment
            yield (
                *("refund", paid.reference, paid.order_id, paid.public_id, each.public_id),
                *(paid.intent_id, paid.latest_charge, each.refund_id),
                *_state(each, now=now),
                *(each.requested_by, each.approved_by),
                *_call(last.get(each.pk)),
            )


def _batches(rows: QuerySet[Row]) -> Iterator[list[Row]]:
    left = rows.order_by("pk").iterator(chunk_size=_BATCH)
    while batch := list(islice(left, _BATCH)):
        yield batch


def _last_calls(attempts: QuerySet[PaymentAttempt], *, of: str) -> dict[int, PaymentAttempt]:
    """The latest call for each, by the id in the field `of`."""
    return {getattr(each, of): each for each in attempts.order_by(of, "-pk").distinct(of)}


def _state(row: Payment | Refund, *, now: dt.datetime) -> tuple[Any, ...]:
    return (
        *(row.amount, display(amount=row.amount, currency=row.currency), row.currency),
        *(row.status, row.created_at, round((now - row.created_at).total_seconds() / 3600, 1)),
        *(row.attempts, row.blocked_reason),
    )


def _call(last: PaymentAttempt | None) -> tuple[Any, ...]:
    """The bank's last answer. A call without one is of a worker that died, or is under way."""
    if last is None:
        return (None,) * 8
    return (
        *(last.phase, last.started_at, last.outcome or "no answer", last.bank_status),
        *(last.code, last.decline_code, last.message, last.request_id),
    )
