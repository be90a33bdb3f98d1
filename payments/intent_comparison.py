"""Intents at the bank against our payments, and our paid payments against the bank."""

import datetime as dt
import logging
from collections.abc import Iterable, Sequence

from django.db import transaction
from django.db.models import Q

from outbox import claims
from payments import limiter
from payments.comparing import busy, made, payments_by
from payments.differences import Found, Report
from payments.gateways.base import Gateway, Intent, IntentStatus, Outcome
from payments.models import Difference, Payment

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
                report.found.append(_unknown(intent))
            continue
        if payment.pk in held or made(intent) > settled_before:
            report.undecided.add(intent.id)
            continue
        if not payment.intent_id:
            if intent.status in LIVE and _adopt(payment, intent):
                report.adopted += 1
                report.nudged += 1
            elif intent.status not in LIVE:
                continue
        if payment.intent_id != intent.id:
            if intent.status in LIVE:
                report.found.append(_of(payment, intent, Kind.TWO_INTENTS, f"the payment has {payment.intent_id}"))
            continue
        _compare(payment, intent, report)


def _compare(payment: Payment, intent: Intent, report: Report) -> None:
    if (payment.amount, payment.currency) != (intent.amount, intent.currency):
        ours = f"ours is over {payment.amount} {payment.currency}"
        report.found.append(_of(payment, intent, Kind.INTENT_DIFFERS, ours))
    if intent.status == IntentStatus.SUCCEEDED and payment.status != Payment.Status.SUCCEEDED:
        can_heal = payment.status in Payment.NUDGED or payment.due_at is not None
        if can_heal and not payment.blocked_reason:
            report.nudged += claims.nudge(Payment.objects.filter(pk=payment.pk))
        report.found.append(
            _of(payment, intent, Kind.CHARGED_NOT_PAID, f"our payment is {payment.status}", healing=can_heal)
        )


def _adopt(payment: Payment, intent: Intent) -> bool:
    """Give the payment the intent that it lost, unless somebody has it in hand: a worker then reads it before it
    confirms anything. True when it was ours to give."""
    with transaction.atomic():
        free = Payment.objects.filter(pk=payment.pk, intent_id="", token__isnull=True, settled_at__isnull=True)
        if not free.update(intent_id=intent.id):
            return False
        claims.nudge(Payment.objects.filter(pk=payment.pk))
    payment.intent_id = intent.id
    logger.warning("action=adopted payment=%s intent=%s", payment.pk, intent.id)
    return True


def missing_intents(bank: Gateway, payments: Iterable[int], report: Report) -> None:
    """Paid here, and not in the bank's list: asked for one by one, for a list may be cut off at its beginning."""
    for payment in Payment.objects.filter(pk__in=list(payments)).order_by("pk"):
        limiter.wait_for_one()
        answer = bank.retrieve(intent_id=payment.intent_id)
        if answer.intent is not None and answer.intent.status == IntentStatus.SUCCEEDED:
            continue
        if answer.outcome not in (Outcome.ANSWERED, Outcome.REFUSED):
            raise ConnectionError(f"The bank did not show {payment.intent_id}: {answer.outcome} {answer.message}")
        there = answer.intent.status if answer.intent else "not there"
        report.found.append(
            Found(
                kind=Kind.PAID_NOT_CHARGED,
                about=payment.intent_id,
                amount=payment.amount,
                currency=payment.currency,
                detail=f"our payment is paid; at the bank the intent is {there}",
                happened_at=payment.created_at,
                payment=payment,
                intent_id=payment.intent_id,
                order_id=payment.order_id,
                reference=payment.reference,
            )
        )


def _of(payment: Payment, intent: Intent, kind: Kind, ours: str, *, healing: bool = False) -> Found:
    return Found(
        kind=kind,
        about=intent.id,
        amount=intent.amount,
        currency=intent.currency,
        detail=f"at the bank {intent.status}, {intent.amount} {intent.currency}; {ours}",
        happened_at=made(intent),
        payment=payment,
        intent_id=intent.id,
        order_id=payment.order_id,
        reference=payment.reference,
        healing=healing,
    )


def _unknown(intent: Intent) -> Found:
    return Found(
        kind=Kind.UNKNOWN_PAYMENT,
        about=intent.id,
        amount=intent.amount,
        currency=intent.currency,
        detail=f"at the bank {intent.status}; we have no payment {intent.payment_ref}",
        happened_at=made(intent),
        intent_id=intent.id,
        order_id=intent.order_ref,
        reference=intent.reference,
    )
