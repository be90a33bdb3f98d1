"""Reconciliation: the bank's books against ours, both ways.

It asks workers to look again (a nudge), and gives a payment or refund that lost the bank's id that id back, so that
nothing is charged or refunded a second time. It writes no status. What stays different becomes a row of `Difference`
that waits for a person. Everything is asked and written in sets, and any number may run at once.

The bank is read first, then our rows: what moves meanwhile is newer here and never looks lost.
"""

import datetime as dt
import logging
from collections.abc import Iterator
from itertools import islice
from typing import TypeVar

from django.conf import settings

from outbox.database import database_now
from payments import differences, gateways, limiter
from payments.differences import Report
from payments.gateways.base import Gateway, IntentStatus
from payments.intent_comparison import compare_intents, missing_intents
from payments.models import Payment, Refund
from payments.refund_comparison import compare_refunds, missing_refunds

logger = logging.getLogger(__name__)

T = TypeVar("T")

# What the schedule looks back: an outage over a weekend, and the day on which it is noticed.
RECENT = dt.timedelta(days=3)
# The bank's clock and ours, and an intent that is created some time after its payment's row.
MARGIN = dt.timedelta(hours=1)
# Objects compared at once; also what the bank lists on a page.
PAGE = 100


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
        compare_intents(intents, report, settled_before)
    for refunds in _pages(bank.list_refunds(since=since - MARGIN)):
        report.refunds += len(refunds)
        for refund in refunds:
            expected_refunds.pop(refund.id, None)
        compare_refunds(refunds, report, settled_before)
    missing_intents(bank, expected.values(), report)
    missing_refunds(bank, expected_refunds.values(), report)
    report.open, report.resolved = differences.keep(report, since=since, begun=begun)
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
