"""Asking for money back. Everything here only writes rows: the refund worker talks to the bank."""

from django.conf import settings
from django.db import transaction
from django.db.models import Q, Sum
from django.db.models.functions import Now

from outbox import claims, decisions, questions
from payments.models import Difference, Dispute, Payment, Refund
from payments.money import display


class NotRefundable(Exception):
    """The payment was not charged, or not that much is left; the message says what is left."""


class Disputed(NotRefundable):
    """The customer's bank is fetching the money back, or has it: a refund would pay twice."""


class NotAwaitingApproval(Exception):
    """Somebody has decided about this refund already."""


class SamePerson(Exception):
    """Who asks for a refund may not approve it."""


def refundable(payment: Payment) -> int:
    """What may still be refunded, in minor units; every refund counts that has not failed."""
    if payment.status != Payment.Status.SUCCEEDED:
        return 0
    counted = payment.refunds.filter(status__in=Refund.COUNTED).aggregate(total=Sum("amount"))["total"]
    return payment.amount - (counted or 0)


def request_refund(
    *, order_id: int, amount: int | None, reason: str, request_token: str, actor: str, by_person: bool
) -> Refund:
    """Write a refund of `amount` minor units (None: all that is left) and let the worker send it.

    The same `request_token` gives the same refund, however often it is sent. A person's refund above
    REFUND_APPROVAL_ABOVE waits for a second person; the order process's own are owed and wait for nobody.
    Raises NotRefundable; Disputed where a person asks while the customer's bank does.
    """
    with transaction.atomic():
        payment = Payment.objects.select_for_update(no_key=True).get(order_id=order_id)
        repeated = Refund.objects.filter(request_token=request_token).first()
        if repeated is not None:
            return repeated
        if by_person and (dispute := disputed(payment)):
            raise Disputed(dispute)
        left = refundable(payment)
        wanted = left if amount is None else amount
        if not 0 < wanted <= left:
            raise NotRefundable(
                f"{payment.reference}: {display(amount=left, currency=payment.currency)} can be refunded, "
                f"not {display(amount=wanted, currency=payment.currency)}."
            )
        refund = _create(
            payment,
            amount=wanted,
            reason=reason,
            request_token=request_token,
            actor=actor,
            waits=by_person and _needs_a_second(wanted),
        )
        if by_person:
            decisions.record(
                kind="refund",
                about=payment,
                story=payment.order_id,
                actor=actor,
                reason=reason,
                before=f"{display(amount=left, currency=payment.currency)} refundable",
                after=_asked(refund),
            )
    return refund


def pay_back_refusal(difference: Difference) -> str:
    """Why the money of a difference cannot be paid back from here; empty when it can: the bank has charged, in full,
    the very intent of a payment that ended without money."""
    payment = difference.payment
    if difference.kind != Difference.Kind.CHARGED_NOT_PAID or payment is None:
        return "Only what was charged for a payment of ours can be paid back from here: use the bank's dashboard."
    if payment.status not in (Payment.Status.FAILED, Payment.Status.CANCELED):
        return f"The payment is {payment.get_status_display().lower()}: a worker finds out what became of it."
    if (difference.about, difference.amount, difference.currency) != (
        payment.intent_id,
        payment.amount,
        payment.currency,
    ):
        return "The bank has charged something else than we asked for: pay it back in the bank's dashboard."
    counted = payment.refunds.filter(status__in=Refund.COUNTED).exists()
    return "Its refund is on its way already." if counted else disputed(payment)


def pay_back(*, difference: Difference, reason: str, request_token: str, actor: str) -> Refund:
    """Refund all that the bank has charged for a payment that ended without money: its status stays, as its order has
    ended and its goods are with others. Raises NotRefundable. Above REFUND_APPROVAL_ABOVE a second person approves."""
    if difference.payment is None:
        raise NotRefundable(pay_back_refusal(difference))
    with transaction.atomic():
        payment = Payment.objects.select_for_update(no_key=True).get(pk=difference.payment.pk)
        repeated = Refund.objects.filter(request_token=request_token).first()
        if repeated is not None:
            return repeated
        difference.payment = payment  # fresh, under its lock
        if why := pay_back_refusal(difference):
            raise NotRefundable(why)
        refund = _create(
            payment,
            amount=payment.amount,
            reason=reason,
            request_token=request_token,
            actor=actor,
            waits=_needs_a_second(payment.amount),
        )
        decisions.record(
            kind="pay-back",
            about=difference,
            story=payment.order_id,
            actor=actor,
            reason=reason,
            before=questions.state(difference),
            after=_asked(refund),
        )
    return refund


def _create(payment: Payment, *, amount: int, reason: str, request_token: str, actor: str, waits: bool) -> Refund:
    """The row, under the payment's lock. `waits`: for a second person."""
    refund = Refund.objects.create(
        payment=payment,
        request_token=request_token,
        amount=amount,
        currency=payment.currency,
        reason=reason,
        requested_by=actor,
        status=Refund.Status.AWAITING_APPROVAL if waits else Refund.Status.UNPROCESSED,
        due_at=None if waits else Now(),
    )
    claims.ring(Refund)
    return refund


def _needs_a_second(amount: int) -> bool:
    limit: int = settings.REFUND_APPROVAL_ABOVE
    return 0 < limit < amount


def _asked(refund: Refund) -> str:
    return f"{display(amount=refund.amount, currency=refund.currency)} {refund.get_status_display().lower()}"


def refund_rest(*, order_id: int, reason: str, request_token: str, actor: str) -> Refund | None:
    """Its order has ended: all that people have not sent back already goes back, and waits for nobody.

    What a person has asked for and nobody has approved is overtaken by that. Returns None where nothing is left, and
    the same refund for the same `request_token`. Raises NotRefundable where nothing was charged.
    """
    with transaction.atomic():
        payment = Payment.objects.select_for_update(no_key=True).get(order_id=order_id)
        _overtake(payment, actor=actor, reason=reason)
        if payment.status == Payment.Status.SUCCEEDED and not refundable(payment):
            return Refund.objects.filter(request_token=request_token).first()
        return request_refund(
            order_id=order_id,
            amount=None,
            reason=reason,
            request_token=request_token,
            actor=actor,
            by_person=False,
        )


def _overtake(payment: Payment, *, actor: str, reason: str) -> None:
    """Otherwise what waits for approval would be kept back from the customer, and stay with us if it is refused."""
    waiting = payment.refunds.select_for_update(no_key=True).filter(status=Refund.Status.AWAITING_APPROVAL)
    for refund in waiting.order_by("id"):
        decisions.record(
            kind="overtake",
            about=refund,
            story=payment.order_id,
            actor=actor,
            reason=f"The order ended ({reason}): all of it goes back.",
            before=refund.status,
            after=Refund.Status.CANCELED,
        )
        Refund.objects.filter(pk=refund.pk).update(status=Refund.Status.CANCELED, settled_at=Now(), approved_by=actor)


def disputed(payment: Payment) -> str:
    """Why a person may not refund it while the customer's bank fetches the money; empty when they may.

    An inquiry alone may be answered with a refund: that ends it. One that was won is over.
    """
    takes_money = Q(status=Dispute.Status.UNREAD) | (
        Q(refundable=False) & (Q(status=Dispute.Status.OPEN) | Q(bank_status="lost"))
    )
    dispute = payment.disputes.filter(takes_money).first()
    if dispute is None:
        return ""
    verb = "has fetched" if dispute.status == Dispute.Status.CLOSED else "is fetching"
    return (
        f"{payment.reference}: the customer's bank {verb} the money back by itself (dispute {dispute.dispute_id}). "
        "A refund would pay it twice: answer the dispute at the bank instead."
    )


def decide(*, refund_id: int, approve: bool, actor: str, reason: str) -> None:
    """A second person approves or refuses. Raises NotAwaitingApproval, SamePerson; Disputed where the customer's bank
    has begun to fetch the money since it was asked for; or ValueError without a reason."""
    with transaction.atomic():
        refund = Refund.objects.select_for_update(no_key=True).get(pk=refund_id)
        if refund.status != Refund.Status.AWAITING_APPROVAL:
            raise NotAwaitingApproval(f"The refund is {refund.get_status_display()}.")
        if refund.requested_by == actor:
            raise SamePerson("Another person has to approve this refund.")
        if approve and (dispute := disputed(refund.payment)):
            raise Disputed(dispute)
        if approve:
            changes = {"status": Refund.Status.UNPROCESSED, "due_at": Now(), "approved_by": actor}
        else:
            changes = {"status": Refund.Status.CANCELED, "settled_at": Now(), "approved_by": actor}
        Refund.objects.filter(pk=refund.pk).update(**changes)
        decisions.record(
            kind="approve" if approve else "refuse",
            about=refund,
            story=refund.payment.order_id,
            actor=actor,
            reason=reason,
            before=refund.status,
            after=Refund.Status.UNPROCESSED if approve else Refund.Status.CANCELED,
        )
        claims.ring(Refund)
