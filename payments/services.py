"""What others may ask of payments. Everything here only writes rows: workers talk to the bank."""

from collections.abc import Iterable

from django.db import transaction
from django.db.models import Case, F, When
from django.db.models.functions import Now

from outbox import claims, prepared
from outbox.crash_points import crash_point
from outbox.publisher import publish_all
from payments.events import PaymentCanceled
from payments.models import Payment
from payments.money import check_chargeable


class NotPayable(Exception):
    """The payment is not in a state that allows this; the message says which it is in."""


def request_payment(
    *, order_id: int, reference: str, amount: int, currency: str, payment_method: str, return_url: str
) -> Payment:
    """Write the `unprocessed` payment of an order, in the order's own transaction. Nothing is charged before
    `release`. `amount` in minor units. Raises AmountNotChargeable (payments.money)."""
    return Payment.objects.create(
        **requested(
            order_id=order_id,
            reference=reference,
            amount=amount,
            currency=currency,
            payment_method=payment_method,
            return_url=return_url,
        )
    )


def requested(
    *, order_id: int, reference: str, amount: int, currency: str, payment_method: str, return_url: str
) -> prepared.Row:
    """The same, not written: for a statement that does so itself (`insertion`)."""
    check_chargeable(amount=amount, currency=currency)
    return prepared.row(
        Payment,
        order_id=order_id,
        reference=reference,
        amount=amount,
        currency=currency,
        payment_method=payment_method,
        return_url=return_url,
    )


def insertion(parameter: str, *, source: str, order_id: str, reference: str) -> str:
    """SQL that writes a `requested` payment whose order only `source` knows; both are expressions."""
    return prepared.insertion(
        Payment, f"{source}, {prepared.given(Payment, parameter)}", order_id=order_id, reference=reference
    )


_RELEASE = b"""
UPDATE payments_payment SET due_at = statement_timestamp()
WHERE order_id = ANY (%(orders)s::bigint[]) AND status = 'unprocessed' AND due_at IS NULL AND blocked_reason = ''
"""


def release(*, order_ids: Iterable[int]) -> None:
    """Let the workers charge these orders. Repeating it changes nothing."""
    prepared.run(_RELEASE, {"orders": prepared.numbers(order_ids)})
    claims.ring(Payment)


def cancel(*, order_ids: Iterable[int]) -> None:
    """Ask for these payments to end without money; the answer comes as PaymentCanceled, or PaymentProcessed
    when it is too late.

    A payment that was never released is `canceled` at once: no worker has ever seen it. Any other becomes
    `canceling`, final only when the bank has answered, even while a worker holds it. One that has ended
    stays as it is.
    """
    with transaction.atomic():
        rows = list(
            Payment.objects.select_for_update(no_key=True)
            .filter(order_id__in=order_ids, settled_at__isnull=True)
            .order_by("pk")
        )
        untouched = [row for row in rows if _is_untouched(row)]
        others = [row.pk for row in rows if row not in untouched]
        Payment.objects.filter(pk__in=[row.pk for row in untouched]).update(
            status=Payment.Status.CANCELED, settled_at=Now(), due_at=None
        )
        publish_all((canceled(row, code="requested"), row.context) for row in untouched)
        # While a worker holds the row, the nudge makes it due as soon as the worker's result is in.
        Payment.objects.filter(pk__in=others).update(
            status=Payment.Status.CANCELING,
            nudges=F("nudges") + 1,
            blocked_reason="",
            due_at=Case(When(token__isnull=True, then=Now()), default=F("due_at")),
        )
        if others:
            transaction.on_commit(lambda: crash_point("X1"))
        claims.ring(Payment)


def _is_untouched(payment: Payment) -> bool:
    """No worker has ever seen it. The count alone does not tell: another card begins it anew, on an intent that is
    open at the bank; and one with an intent may have been tried in a history that this database has lost."""
    return payment.status == Payment.Status.UNPROCESSED and payment.attempts == 0 and not payment.intent_id


def give_card(*, order_id: int, payment_method: str) -> None:
    """Another card for the same intent after a decline. Raises NotPayable when the payment is not waiting
    for one (it may have been paid or ended meanwhile)."""
    with transaction.atomic():
        payment = Payment.objects.select_for_update(no_key=True).get(order_id=order_id)
        if payment.status != Payment.Status.DECLINED or payment.blocked_reason:
            raise NotPayable(f"The payment of {payment.reference} is {payment.get_status_display()}.")
        Payment.objects.filter(pk=payment.pk).update(
            status=Payment.Status.UNPROCESSED,
            payment_method=payment_method,
            card_no=F("card_no") + 1,
            failure_code="",
            attempts=0,
            due_at=Now(),
            # A worker that reads the refusal once more may not write its view of the earlier card.
            token=None,
            claimed_by="",
        )
        claims.ring(Payment)


def cards_given(*, order_id: int) -> int:
    """How many cards the customer has given for this order so far."""
    return Payment.objects.get(order_id=order_id).card_no


def look_again(*, order_ids: Iterable[int]) -> int:
    """Ask the workers to read these payments at the bank again; returns how many there are."""
    return claims.nudge(Payment.objects.filter(order_id__in=order_ids, settled_at__isnull=True))


def wake_charged(*, intent_id: str) -> int:
    """The bank says that this intent is charged: have its payment read, also where no nudge makes it due (a refused
    card; an order that has not asked for its money yet). Reading or confirming a charged intent moves nothing.
    Returns how many were woken."""
    resting = Payment.objects.filter(
        status__in=[Payment.Status.UNPROCESSED, Payment.Status.DECLINED],
        token__isnull=True,
        due_at__isnull=True,
        blocked_reason="",
    )
    woken = resting.filter(intent_id=intent_id).exclude(intent_id="").update(due_at=Now())
    if woken:
        claims.ring(Payment)
    return woken


def canceled(payment: Payment, *, code: str) -> PaymentCanceled:
    """The event that says so."""
    return PaymentCanceled(
        order_id=payment.order_id,
        payment_id=str(payment.public_id),
        amount=payment.amount,
        currency=payment.currency,
        code=code,
    )
