"""Refunds at the bank against ours, and ours against the bank."""

import datetime as dt
import logging
from collections.abc import Callable, Sequence

from django.db import transaction
from django.db.models import Case, DateTimeField, F, Q, QuerySet, When
from django.db.models.functions import Now

from outbox import claims
from payments import limiter
from payments.gateways.base import BankRefund, Gateway, Outcome
from payments.models import Difference, Payment, Refund
from payments.money import display
from payments.reconciliation.comparing import FREE, busy, made, payments_by
from payments.reconciliation.differences import Found, Report

logger = logging.getLogger(__name__)

Kind = Difference.Kind
# Statuses of a refund at the bank after which the money is with us again.
GONE = frozenset({"failed", "canceled"})


def compare_refunds(refunds: Sequence[BankRefund], report: Report, settled_before: dt.datetime) -> None:
    rows = Refund.objects.select_related("payment").filter(
        Q(refund_id__in=[each.id for each in refunds])
        | Q(public_id__in=[each.refund_ref for each in refunds if each.refund_ref])
    )
    known: dict[object, Refund] = {}
    for row in rows:
        known[row.public_id] = row
        known[row.refund_id or row.public_id] = row
    payments = payments_by(Q(intent_id__in=[each.intent_id for each in refunds if each.intent_id]), by="intent_id")
    held = busy([each.payment for each in known.values()], settled_before)
    working = Refund.objects.filter(pk__in={each.pk for each in known.values()}).exclude(FREE)
    claimed = set(working.values_list("pk", flat=True))
    for refund in refunds:
        if made(refund) > settled_before:
            report.undecided.add(refund.id)
            continue
        ours = known.get(refund.id) or known.get(refund.refund_ref)
        payment = payments.get(refund.intent_id)
        if ours is None:
            # Not ours at all: another system of the same account has refunded its own charge.
            if refund.status not in GONE and (payment is not None or refund.refund_ref):
                report.found.append(_found(refund, Kind.REFUND_WITHOUT_ROW, payment, "we have no such refund"))
        elif ours.payment_id in held or ours.pk in claimed:
            report.undecided.add(refund.id)
        elif ours.refund_id not in ("", refund.id):
            # Both carry our id: what was sent twice is one row and two refunds.
            report.found.append(
                _found(refund, Kind.REFUND_WITHOUT_ROW, ours.payment, f"its row is of {ours.refund_id}")
            )
        else:
            _compare_refund(ours, refund, report)


def _compare_refund(ours: Refund, refund: BankRefund, report: Report) -> None:
    if not ours.refund_id and _adopt_refund(ours, refund):
        report.adopted += 1
        if ours.status != Refund.Status.AWAITING_APPROVAL:
            report.nudged += 1
            return
    if (ours.amount, ours.currency) != (refund.amount, refund.currency):
        detail = f"ours is over {display(amount=ours.amount, currency=ours.currency)}"
        report.found.append(_found(refund, Kind.REFUND_DIFFERS, ours.payment, detail))
    elif (refund.status in GONE) != (ours.status in Refund.FINAL) or (
        refund.status == "succeeded" and ours.status != Refund.Status.SUCCEEDED
    ):
        can_heal = ours.status in Refund.NUDGED and not ours.blocked_reason
        report.nudged += claims.nudge(Refund.objects.filter(pk=ours.pk)) if can_heal else 0
        detail = f"ours is {ours.status}"
        report.found.append(_found(refund, Kind.REFUND_DIFFERS, ours.payment, detail, healing=can_heal))


def _adopt_refund(ours: Refund, refund: BankRefund) -> bool:
    """Give the refund the bank's id, so that it is read and not sent again; a block for its absence is over. One that
    waits for approval goes on waiting: with its id it will only be read."""
    awaiting = Q(status=Refund.Status.AWAITING_APPROVAL)
    due = Case(When(awaiting, then=None), default=Now(), output_field=DateTimeField())
    with transaction.atomic():
        rows = Refund.objects.filter(FREE, pk=ours.pk, refund_id="").exclude(status__in=Refund.FINAL)
        if not rows.update(refund_id=refund.id, blocked_reason="", due_at=due, nudges=F("nudges") + 1):
            return False
        claims.ring(Refund)
    logger.warning("action=adopted refund=%s bank=%s", ours.pk, refund.id)
    return True


def missing_refunds(bank: Gateway, refunds: QuerySet[Refund], report: Report, *, over: Callable[[], bool]) -> None:
    """Known here by the bank's id, and not in its list: asked for one by one."""
    for ours in refunds.select_related("payment").order_by("pk"):
        limiter.wait_for_one(stop=over)
        if over():
            report.undecided.add(ours.refund_id)
            continue
        answer = bank.retrieve_refund(refund_id=ours.refund_id)
        if answer.outcome not in (Outcome.ANSWERED, Outcome.REFUSED):
            raise ConnectionError(f"The bank did not show {ours.refund_id}: {answer.outcome} {answer.message}")
        if answer.refund is None:
            there = BankRefund(
                id=ours.refund_id,
                status="not there",
                amount=ours.amount,
                currency=ours.currency,
                intent_id=ours.payment.intent_id,
                created=ours.created_at,
            )
            found = _found(there, Kind.REFUND_NOT_AT_BANK, ours.payment, f"ours is {ours.status}")
            report.found.append(found)


def _found(refund: BankRefund, kind: Kind, payment: Payment | None, ours: str, *, healing: bool = False) -> Found:
    return Found(
        kind=kind,
        about=refund.id,
        amount=refund.amount,
        currency=refund.currency,
        detail=f"at the bank {refund.status}, {display(amount=refund.amount, currency=refund.currency)}; {ours}",
        happened_at=made(refund),
        payment=payment,
        intent_id=refund.intent_id,
        order_id=payment.order_id if payment else None,
        reference=payment.reference if payment else "",
        healing=healing,
    )
