"""Reconciliation: the bank's books against ours, both ways.

It asks workers to look again (a nudge), and gives a payment or refund that lost the bank's id that id back, so that
nothing is charged or refunded a second time. It writes no status. What stays different becomes a row of `Difference`
that waits for a person. Everything is asked and written in sets, and any number may run at once.

The bank is read first, then our rows: what moves meanwhile is newer here and never looks lost.
"""

import datetime as dt
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django.conf import settings
from django.db.models import Q

from outbox.database import database_now
from payments import gateways
from payments.gateways.base import Gateway, IntentStatus
from payments.models import Difference, Payment, ReconciliationCursor, Refund
from payments.reconciliation import differences
from payments.reconciliation.differences import Report
from payments.reconciliation.intents import compare_intents, missing_intents
from payments.reconciliation.lists import Clock, Reading
from payments.reconciliation.refunds import compare_refunds, missing_refunds

logger = logging.getLogger(__name__)

Listing = ReconciliationCursor.Listing
Progress = Callable[[Report], None]

# What the schedule looks back: an outage over a weekend, and the day on which it is noticed.
RECENT = dt.timedelta(days=3)
# The bank's clock and ours, and an intent that is created some time after its payment's row.
MARGIN = dt.timedelta(hours=1)
# Seconds for a scheduled run. The scheduler ends a task after 120: the rest is for a last slow call, and for writing.
BUDGET = 80.0
# Up to which part of it each list is read, and then what is missing there is asked for: none starves another.
INTENTS_LISTED, INTENTS_ASKED, REFUNDS_LISTED, ALL_ASKED = 0.4, 0.5, 0.9, 1.0


def reconcile_recent() -> int:
    """What the scheduler runs; returns how many differences are open. What does not fit into its time is compared by
    the next run."""
    try:
        return reconcile(since=database_now() - RECENT, seconds=BUDGET).open
    except ConnectionError as error:
        logger.warning("action=reconcile_failed reason=%r", str(error))
        return 0


def reconcile(
    *,
    since: dt.datetime | None = None,
    gateway: Gateway | None = None,
    seconds: float | None = None,
    progress: Progress = lambda report: None,
) -> Report:
    """Compare everything created since then; None: since the first payment that we know, and what the bank made in the
    month before. `progress` is told after each page.

    With `seconds` it ends by itself after about that time, goes on where the last such run was cut off, and concludes
    nothing from what it did not read. Raises ConnectionError when the bank does not answer: then nothing is concluded
    from what is missing.
    """
    begun = database_now()
    since = since or _beginning(begun)
    run = _Run(
        bank=gateway or gateways.make(connections=1),
        since=since,
        settled_before=begun - dt.timedelta(seconds=settings.PAYMENT_SETTLE_SECONDS),
        clock=Clock(began=time.monotonic(), seconds=seconds),
        progress=progress,
    )
    report = run.report
    intents, refunds = run.intents(), run.refunds()
    about_refunds = Q(kind__in=Difference.ABOUT_REFUNDS)
    compared = (~about_refunds & intents.compared("happened_at")) | (about_refunds & refunds.compared("happened_at"))
    report.resolved = differences.keep(report, compared=compared, begun=begun)
    report.open = differences.waiting()
    for reading in (intents, refunds):
        reading.remember()
    report.cut_off = not (intents.complete and refunds.complete)
    if report.cut_off:
        logger.warning("action=reconcile_cut_off intents=%s refunds=%s", intents, refunds)
    return report


def _beginning(now: dt.datetime) -> dt.datetime:
    first = Payment.objects.order_by("pk").values_list("created_at", flat=True).first()
    return (first or now) - dt.timedelta(days=30)


@dataclass(frozen=True, kw_only=True)
class _Run:
    bank: Gateway
    since: dt.datetime
    settled_before: dt.datetime
    clock: Clock
    progress: Progress
    report: Report = field(default_factory=Report)

    def intents(self) -> Reading:
        reading = Reading(Listing.INTENTS, since=self.since, clock=self.clock)
        # Ours first: what is paid meanwhile does not look as if it were missing.
        paid = Payment.objects.filter(self._ours(reading), status=Payment.Status.SUCCEEDED)
        expected = dict(paid.values_list("intent_id", "pk"))
        listed = self.bank.list_intents(since=self.since - MARGIN, until=reading.until)
        for page in reading.pages(listed, over=self.clock.over(INTENTS_LISTED)):
            self.report.intents += len(page)
            for intent in page:
                if intent.status == IntentStatus.SUCCEEDED:
                    expected.pop(intent.id, None)
            compare_intents(page, self.report, self.settled_before)
            self._turn()
        missing = Payment.objects.filter(reading.compared("created_at"), pk__in=list(expected.values()))
        missing_intents(self.bank, missing, self.report, over=self.clock.over(INTENTS_ASKED))
        return reading

    def refunds(self) -> Reading:
        reading = Reading(Listing.REFUNDS, since=self.since, clock=self.clock)
        made = Refund.objects.filter(self._ours(reading)).exclude(refund_id="")
        expected = dict(made.values_list("refund_id", "pk"))
        listed = self.bank.list_refunds(since=self.since - MARGIN, until=reading.until)
        for page in reading.pages(listed, over=self.clock.over(REFUNDS_LISTED)):
            self.report.refunds += len(page)
            for refund in page:
                expected.pop(refund.id, None)
            compare_refunds(page, self.report, self.settled_before)
            self._turn()
        missing = Refund.objects.filter(reading.compared("created_at"), pk__in=list(expected.values()))
        missing_refunds(self.bank, missing, self.report, over=self.clock.over(ALL_ASKED))
        return reading

    def _ours(self, reading: Reading) -> Q:
        """Rows that the bank must have, among those of the time that will be read."""
        rows = Q(created_at__gte=self.since, settled_at__lt=self.settled_before)
        return rows & Q(created_at__lte=reading.until) if reading.until else rows

    def _turn(self) -> None:
        self.report.pages += 1
        self.progress(self.report)
