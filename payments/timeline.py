"""The payments' part of an order's timeline: every call to the bank, the refunds, and what the bank told us."""

from collections.abc import Iterable

from outbox.timeline import Entry, source
from payments.models import BankEvent, Payment, PaymentAttempt, Refund
from payments.money import display


@source
def attempts(order_id: int) -> Iterable[Entry]:
    for attempt in PaymentAttempt.objects.filter(payment__order_id=order_id).order_by("id"):
        yield Entry(
            at=attempt.started_at,
            source="bank call",
            what=f"{attempt.phase} (card {attempt.card_no})",
            who=attempt.worker,
            detail=attempt.key,
        )
        if attempt.finished_at is None:
            continue
        said = (attempt.bank_status, attempt.decline_code or attempt.code, attempt.message, attempt.request_id)
        yield Entry(
            at=attempt.finished_at,
            source="bank answer",
            what=f"{attempt.phase}: {attempt.outcome}",
            who=attempt.worker,
            detail=" · ".join(
                [
                    *(part for part in said if part),
                    *(["replayed"] if attempt.replayed else []),
                    *(["after its lease: kept as a fact only"] if attempt.claim_lost else []),
                    *([f"{attempt.duration_ms} ms"] if attempt.duration_ms is not None else []),
                ]
            ),
        )


@source
def refunds(order_id: int) -> Iterable[Entry]:
    for refund in Refund.objects.filter(payment__order_id=order_id).order_by("id"):
        amount = display(amount=refund.amount, currency=refund.currency)
        yield Entry(
            at=refund.created_at,
            source="refund",
            what=f"refund of {amount} requested",
            who=refund.requested_by,
            detail=refund.reason,
        )
        if refund.settled_at is not None:
            yield Entry(
                at=refund.settled_at,
                source="refund",
                what=f"refund of {amount} {refund.status}",
                who=refund.approved_by,
                detail=refund.failure_code or refund.refund_id,
            )


@source
def bank_events(order_id: int) -> Iterable[Entry]:
    intents = Payment.objects.filter(order_id=order_id).exclude(intent_id="").values("intent_id")
    for event in BankEvent.objects.filter(intent_id__in=intents).order_by("id"):
        yield Entry(
            at=event.received_at,
            source="bank event",
            what=event.type,
            who="found in the bank's list" if event.listed else "webhook",
            detail=f"{event.event_id}, {event.status}",
        )
