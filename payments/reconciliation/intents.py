"""Intents at the bank against our payments, and our paid payments against the bank."""

import datetime as dt
import logging
from collections.abc import Callable, Sequence

from django.db import transaction
from django.db.models import Q, QuerySet, Sum
from django.db.models.functions import Now

from outbox import claims
from payments import limiter, services
from payments.gateways.base import Gateway, Intent, IntentStatus, Outcome
from payments.models import Difference, Payment, PaymentAttempt, Refund
from payments.money import display
from payments.reconciliation.comparing import FREE, busy, made, payments_by
from payments.reconciliation.differences import MACHINE, Found, Report

logger = logging.getLogger(__name__)

Kind = Difference.Kind

# Intents that have moved money, or may do so without anybody asking again.
LIVE = frozenset(
    {
        IntentStatus.SUCCEEDED,
        IntentStatus.PROCESSING,
        IntentStatus.REQUIRES_ACTION,
        IntentStatus.REQUIRES_CAPTURE,
    }
)


def compare_intents(intents: Sequence[Intent], report: Report, settled_before: dt.datetime) -> None:
    known = payments_by(Q(intent_id__in=[each.id for each in intents]), by="intent_id")
    meant = payments_by(Q(public_id__in=[each.payment_ref for each in intents if each.payment_ref]), by="public_id")
    held = busy([*known.values(), *meant.values()], settled_before)
    # Where several intents are of one payment, the one that has charged is the one to keep.
    for intent in sorted(intents, key=lambda each: each.status != IntentStatus.SUCCEEDED):
        payment = known.get(intent.id) or meant.get(intent.payment_ref)
        if payment is None:
            if intent.payment_ref and intent.status in LIVE:
                report.found.append(
                    _found(intent, Kind.UNKNOWN_PAYMENT, None, f"we have no payment {intent.payment_ref}")
                )
            continue
        if payment.pk in held or made(intent) > settled_before:
            report.undecided.add(intent.id)
            continue
        if not payment.intent_id:
            if intent.status in LIVE and _adopt(payment, intent):
                report.adopted += 1
            elif intent.status not in LIVE:
                continue
        if payment.intent_id != intent.id:
            if intent.status in LIVE:
                has = payment.intent_id or "none"
                report.found.append(_found(intent, Kind.TWO_INTENTS, payment, f"the payment has {has}"))
            continue
        _compare(payment, intent, report)


def _compare(payment: Payment, intent: Intent, report: Report) -> None:
    if (payment.amount, payment.currency) != (intent.amount, intent.currency):
        ours = f"ours is over {display(amount=payment.amount, currency=payment.currency)}"
        report.found.append(_found(intent, Kind.INTENT_DIFFERS, payment, ours))
    if intent.status != IntentStatus.SUCCEEDED or payment.status == Payment.Status.SUCCEEDED:
        return
    final = payment.settled_at is not None
    if final and _paid_back(payment) >= intent.amount:
        return
    can_heal = not final and not payment.blocked_reason
    if can_heal:
        services.wake_charged(intent_id=intent.id)
        report.nudged += claims.nudge(Payment.objects.filter(pk=payment.pk))
    report.found.append(
        _found(intent, Kind.CHARGED_NOT_PAID, payment, f"our payment is {payment.status}", healing=can_heal)
    )


def _paid_back(payment: Payment) -> int:
    """What has gone back of a payment that ended without money, and was charged all the same."""
    sent = payment.refunds.filter(status=Refund.Status.SUCCEEDED)
    return sent.aggregate(total=Sum("amount"))["total"] or 0


def _adopt(payment: Payment, intent: Intent) -> bool:
    """Give the payment the intent that it lost, unless somebody has it in hand: a worker then reads it before it
    confirms anything. One that has ended gets it only where it was charged, so that it can be paid back. True when it
    was ours to give; the journal tells, as its own rows about this intent are lost too."""
    rows = Payment.objects.filter(FREE, pk=payment.pk, intent_id="")
    if intent.status != IntentStatus.SUCCEEDED:
        rows = rows.filter(settled_at__isnull=True)
    with transaction.atomic():
        if not rows.update(intent_id=intent.id):
            return False
        PaymentAttempt.objects.create(
            payment=payment,
            phase=PaymentAttempt.Phase.ADOPT,
            card_no=payment.card_no,
            worker=MACHINE,
            finished_at=Now(),
            outcome=Outcome.ANSWERED,
            bank_status=intent.status,
            message=f"found again at the bank by our id in its metadata: {intent.id}",
        )
        claims.nudge(Payment.objects.filter(pk=payment.pk))
    payment.intent_id = intent.id
    logger.warning("action=adopted payment=%s intent=%s", payment.pk, intent.id)
    return True


def missing_intents(bank: Gateway, payments: QuerySet[Payment], report: Report, *, over: Callable[[], bool]) -> None:
    """Paid here, and not in the bank's list: asked for one by one, for a list may be cut off at its beginning."""
    for payment in payments.order_by("pk"):
        limiter.wait_for_one(stop=over)
        if over():
            report.undecided.add(payment.intent_id)
            continue
        answer = bank.retrieve(intent_id=payment.intent_id)
        if answer.intent is not None and answer.intent.status == IntentStatus.SUCCEEDED:
            continue
        if answer.outcome not in (Outcome.ANSWERED, Outcome.REFUSED):
            raise ConnectionError(f"The bank did not show {payment.intent_id}: {answer.outcome} {answer.message}")
        there = Intent(
            id=payment.intent_id,
            status=answer.intent.status if answer.intent else "not there",
            amount=payment.amount,
            currency=payment.currency,
            created=payment.created_at,
        )
        report.found.append(_found(there, Kind.PAID_NOT_CHARGED, payment, "our payment is paid"))


def _found(intent: Intent, kind: Kind, payment: Payment | None, ours: str, *, healing: bool = False) -> Found:
    return Found(
        kind=kind,
        about=intent.id,
        amount=intent.amount,
        currency=intent.currency,
        detail=f"at the bank {_said(intent)}; {ours}",
        happened_at=made(intent),
        payment=payment,
        intent_id=intent.id,
        order_id=payment.order_id if payment else intent.order_ref,
        reference=payment.reference if payment else intent.reference,
        healing=healing,
    )


def _said(intent: Intent) -> str:
    """All that a person needs to find it there."""
    amount = display(amount=intent.amount, currency=intent.currency)
    charge = f", charge {intent.latest_charge}" if intent.latest_charge else ""
    return f"{intent.status}, {amount}, made {made(intent):%Y-%m-%d %H:%M:%S} UTC{charge}"
