"""Reconciliation: the bank's books against ours, both ways.

It asks workers to look again (a nudge), and gives a payment or refund that lost the bank's id that id back, so that
nothing is charged or refunded a second time. It writes no status. What stays different becomes a row of `Difference`
that waits for a person. Everything is asked and written in sets, and any number may run at once.

The bank is read first, then our rows: what moves meanwhile is newer here and never looks lost.
"""

import datetime as dt
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from outbox import claims
from outbox.database import database_now, retried
from payments import gateways, limiter
from payments.gateways.base import BankRefund, Gateway, Intent, IntentStatus, Outcome
from payments.models import Difference, Payment, PaymentAttempt, Refund

logger = logging.getLogger(__name__)

Kind = Difference.Kind
T = TypeVar("T")

# Who resolves what has become right again.
MACHINE = "system:reconciliation"
# Objects compared at once; also what the bank lists on a page.
PAGE = 100
# What the schedule looks back: an outage over a weekend, and the day on which it is noticed.
RECENT = dt.timedelta(days=3)
# The bank's clock and ours, and an intent that is created some time after its payment's row.
MARGIN = dt.timedelta(hours=1)
# Intents that have moved money, or may do so without anybody asking again.
LIVE = frozenset(
    {
        IntentStatus.SUCCEEDED,
        IntentStatus.PROCESSING,
        IntentStatus.REQUIRES_ACTION,
        IntentStatus.REQUIRES_CAPTURE,
    }
)
GONE = frozenset({"failed", "canceled"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A difference as it was seen; `healing`: a worker was asked to look, which may be all that is needed."""

    kind: Kind
    about: str
    amount: int
    currency: str
    detail: str
    happened_at: dt.datetime
    payment: Payment | None = None
    intent_id: str = ""
    order_id: int | None = None
    reference: str = ""
    healing: bool = False


@dataclass(slots=True, kw_only=True)
class Report:
    """What one run came to. `open` differences wait for a person."""

    intents: int = 0
    refunds: int = 0
    nudged: int = 0
    adopted: int = 0
    found: list[Found] = field(default_factory=list)
    # In a worker's hands just now: nothing can be said about them.
    undecided: set[str] = field(default_factory=set)
    open: int = 0
    resolved: int = 0


def reconcile_recent() -> int:
    """What the scheduler runs; returns how many differences are open."""
    try:
        return reconcile(since=database_now() - RECENT).open
    except ConnectionError as error:
        logger.warning("action=reconcile_failed reason=%r", str(error))
        return 0


def reconcile(*, since: dt.datetime | None = None, gateway: Gateway | None = None) -> Report:
    """Compare everything created since then; None: since the first payment that we know, and what the bank made in the
    month before. Raises ConnectionError when the bank does not answer: then nothing is concluded from what is missing.
    """
    bank = gateway or gateways.make(connections=1)
    begun = database_now()
    since = since or _beginning(begun)
    settled_before = begun - dt.timedelta(seconds=settings.PAYMENT_SETTLE_SECONDS)
    ours_paid = Payment.objects.filter(
        status=Payment.Status.SUCCEEDED, created_at__gte=since, settled_at__lt=settled_before
    )
    ours_refunded = Refund.objects.filter(created_at__gte=since, settled_at__lt=settled_before).exclude(refund_id="")
    expected = dict(ours_paid.values_list("intent_id", "pk"))
    expected_refunds = dict(ours_refunded.values_list("refund_id", "pk"))
    report = Report()
    for intents in _pages(bank.list_intents(since=since - MARGIN)):
        report.intents += len(intents)
        for intent in intents:
            if intent.status == IntentStatus.SUCCEEDED:
                expected.pop(intent.id, None)
        _compare_intents(intents, report, settled_before)
    for refunds in _pages(bank.list_refunds(since=since - MARGIN)):
        report.refunds += len(refunds)
        for refund in refunds:
            expected_refunds.pop(refund.id, None)
        _compare_refunds(refunds, report, settled_before)
    _missing_intents(bank, expected.values(), report)
    _missing_refunds(bank, expected_refunds.values(), report)
    report.open, report.resolved = _keep(report, since=since, begun=begun)
    return report


def _beginning(now: dt.datetime) -> dt.datetime:
    first = Payment.objects.order_by("pk").values_list("created_at", flat=True).first()
    return (first or now) - dt.timedelta(days=30)


def _pages(listed: Iterator[T]) -> Iterator[list[T]]:
    """Each page is a call, with a token of its own."""
    limiter.wait_for_one()
    while page := list(islice(listed, PAGE)):
        yield page
        limiter.wait_for_one()


# --- intents ----------------------------------------------------------------------------------------


def _compare_intents(intents: Sequence[Intent], report: Report, settled_before: dt.datetime) -> None:
    known = _payments(Q(intent_id__in=[each.id for each in intents]), by="intent_id")
    meant = _payments(Q(public_id__in=[each.payment_ref for each in intents if each.payment_ref]), by="public_id")
    busy = _busy([*known.values(), *meant.values()], settled_before)
    # Where several intents are of one payment, the one that has charged is the one to keep.
    for intent in sorted(intents, key=lambda each: each.status != IntentStatus.SUCCEEDED):
        payment = known.get(intent.id) or meant.get(intent.payment_ref)
        if payment is None:
            if intent.payment_ref and intent.status in LIVE:
                report.found.append(_unknown(intent))
            continue
        if payment.pk in busy or _made(intent) > settled_before:
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


def _missing_intents(bank: Gateway, payments: Iterable[int], report: Report) -> None:
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
        happened_at=_made(intent),
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
        happened_at=_made(intent),
        intent_id=intent.id,
        order_id=intent.order_ref,
        reference=intent.reference,
    )


def _made(shown: Intent | BankRefund) -> dt.datetime:
    """By the bank's clock; the beginning of time where it does not say."""
    return shown.created or dt.datetime.fromtimestamp(0, tz=dt.UTC)


def _payments(wanted: Q, *, by: str) -> dict[object, Payment]:
    return {getattr(each, by): each for each in Payment.objects.filter(wanted)}


def _busy(payments: Iterable[Payment], settled_before: dt.datetime) -> set[int]:
    """Payments that a worker has in hand, or had a moment ago."""
    rows = {each.pk for each in payments}
    recent = PaymentAttempt.objects.filter(payment__in=rows).filter(
        Q(started_at__gte=settled_before) | Q(finished_at__gte=settled_before)
    )
    held = Payment.objects.filter(pk__in=rows, token__isnull=False)
    return {*recent.values_list("payment_id", flat=True), *held.values_list("pk", flat=True)}


# --- refunds ----------------------------------------------------------------------------------------


def _compare_refunds(refunds: Sequence[BankRefund], report: Report, settled_before: dt.datetime) -> None:
    rows = Refund.objects.select_related("payment").filter(
        Q(refund_id__in=[each.id for each in refunds])
        | Q(public_id__in=[each.refund_ref for each in refunds if each.refund_ref])
    )
    known: dict[object, Refund] = {}
    for row in rows:
        known[row.public_id] = row
        known[row.refund_id or row.public_id] = row
    payments = _payments(Q(intent_id__in=[each.intent_id for each in refunds if each.intent_id]), by="intent_id")
    busy = _busy([each.payment for each in known.values()], settled_before)
    for refund in refunds:
        if _made(refund) > settled_before:
            report.undecided.add(refund.id)
            continue
        ours = known.get(refund.id) or known.get(refund.refund_ref)
        payment = payments.get(refund.intent_id)
        if ours is None:
            # Not ours at all: another system of the same account has refunded its own charge.
            if refund.status not in GONE and (payment is not None or refund.refund_ref):
                report.found.append(_refund_found(refund, Kind.REFUND_WITHOUT_ROW, payment, "we have no such refund"))
        elif ours.token is None and ours.payment_id not in busy:
            _compare_refund(ours, refund, report)
        else:
            report.undecided.add(refund.id)


def _compare_refund(ours: Refund, refund: BankRefund, report: Report) -> None:
    if not ours.refund_id and _adopt_refund(ours, refund):
        report.adopted += 1
        report.nudged += 1
        return
    if (ours.amount, ours.currency) != (refund.amount, refund.currency):
        detail = f"ours is over {ours.amount} {ours.currency}"
        report.found.append(_refund_found(refund, Kind.REFUND_DIFFERS, ours.payment, detail))
    elif (refund.status in GONE) != (ours.status in Refund.FINAL) or (
        refund.status == "succeeded" and ours.status != Refund.Status.SUCCEEDED
    ):
        can_heal = ours.status in Refund.NUDGED and not ours.blocked_reason
        report.nudged += claims.nudge(Refund.objects.filter(pk=ours.pk)) if can_heal else 0
        detail = f"ours is {ours.status}"
        report.found.append(_refund_found(refund, Kind.REFUND_DIFFERS, ours.payment, detail, healing=can_heal))


def _adopt_refund(ours: Refund, refund: BankRefund) -> bool:
    """Give the refund the bank's id, so that it is read and not sent again; a block for its absence is over."""
    with transaction.atomic():
        rows = Refund.objects.filter(pk=ours.pk, refund_id="", token__isnull=True).exclude(status__in=Refund.FINAL)
        if not rows.update(refund_id=refund.id, blocked_reason="", due_at=Now(), nudges=F("nudges") + 1):
            return False
        claims.ring(Refund)
    logger.warning("action=adopted refund=%s bank=%s", ours.pk, refund.id)
    return True


def _missing_refunds(bank: Gateway, refunds: Iterable[int], report: Report) -> None:
    for ours in Refund.objects.select_related("payment").filter(pk__in=list(refunds)).order_by("pk"):
        limiter.wait_for_one()
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
            found = _refund_found(there, Kind.REFUND_NOT_AT_BANK, ours.payment, f"ours is {ours.status}")
            report.found.append(found)


def _refund_found(
    refund: BankRefund, kind: Kind, payment: Payment | None, ours: str, *, healing: bool = False
) -> Found:
    return Found(
        kind=kind,
        about=refund.id,
        amount=refund.amount,
        currency=refund.currency,
        detail=f"at the bank {refund.status}, {refund.amount} {refund.currency}; {ours}",
        happened_at=_made(refund),
        payment=payment,
        intent_id=refund.intent_id,
        order_id=payment.order_id if payment else None,
        reference=payment.reference if payment else "",
        healing=healing,
    )


# --- differences ------------------------------------------------------------------------------------


@retried()
def _keep(report: Report, *, since: dt.datetime, begun: dt.datetime) -> tuple[int, int]:
    """Write what differs, and close what no longer does; returns how many wait for a person, and how many were closed.

    What a person has resolved stays resolved while the same facts are seen. A healing one that is seen again by a
    later run was not healed: from then on it waits for a person.
    """
    found = report.found
    with transaction.atomic():
        abouts = [each.about for each in found]
        earlier: dict[tuple[str, str], Difference] = {}
        for old in Difference.objects.select_for_update(no_key=True).filter(about__in=abouts).order_by("id"):
            earlier[old.kind, old.about] = old
        new = []
        seen = []
        for each in found:
            row = earlier.get((each.kind, each.about))
            by_person = row is not None and row.resolved_at is not None and row.resolved_by != MACHINE
            if row is not None and (row.resolved_at is None or (by_person and row.detail == each.detail)):
                seen.append(row.pk)
            else:
                new.append(_row(each))
        Difference.objects.filter(pk__in=seen).update(last_seen=Now())
        # Another run at the same moment is no later look.
        Difference.objects.filter(pk__in=seen, healing=True, first_seen__lt=begun).update(healing=False)
        Difference.objects.bulk_create(new, ignore_conflicts=True)
        healed = Difference.objects.filter(
            resolved_at__isnull=True, last_seen__lt=begun, happened_at__gte=since
        ).exclude(about__in=report.undecided)
        closed = healed.update(
            resolved_at=Now(), resolved_by=MACHINE, resolution="The bank's books and ours say the same again."
        )
    for each in found:
        if not each.healing:
            logger.error("action=differs kind=%s about=%s detail=%r", each.kind, each.about, each.detail)
    return Difference.objects.filter(resolved_at__isnull=True, healing=False).count(), closed


def _row(found: Found) -> Difference:
    return Difference(
        kind=found.kind,
        about=found.about,
        intent_id=found.intent_id,
        order_id=found.order_id,
        reference=found.reference,
        payment=found.payment,
        amount=found.amount,
        currency=found.currency,
        detail=found.detail[:500],
        happened_at=found.happened_at,
        healing=found.healing,
    )
