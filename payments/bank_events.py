"""What the bank tells us: kept once, and a nudge for what it is about.

Nothing here writes a state: the workers look again and find it. So an event may come twice, late, out of order or
before we know its object, and one that never came is found in the bank's own list.
"""

import datetime as dt
import logging
import time
from collections import deque
from collections.abc import Sequence

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from outbox import claims, decisions
from outbox.backoff import Backoff
from outbox.crash_points import calling, crash_point
from outbox.database import database_now, retried
from payments import gateways, services
from payments.gateways.base import BankNotice, Gateway
from payments.models import BankEvent, BankEventCursor, Dispute, Payment, Refund

logger = logging.getLogger(__name__)

Status = BankEvent.Status

# The loop that comes back to events about something we do not have yet.
LOOP = "bank-events"
EARLY = Backoff(first=dt.timedelta(seconds=1), longest=dt.timedelta(minutes=30))
# What is not ours after a day (another system's charge, a refund made by hand at the bank) will not become it.
MATCH_WITHIN = dt.timedelta(days=1)

# What the bank lists out of order is listed again: it is stored once anyway.
OVERLAP = dt.timedelta(minutes=5)
# A webhook that is younger may still be on its way.
ON_ITS_WAY = dt.timedelta(minutes=2)
# Seconds for one look into the list, below a scheduled task's time; the next one goes on from there.
BUDGET = 50.0
# It moves also what waits for something else, such as another card: perhaps an older backup was restored.
CHARGED = "payment_intent.succeeded"
# Nothing waits for them any more.
DONE = (Status.APPLIED, Status.SET_ASIDE)
# Rows per transaction of the purge.
BATCH = 5000


@retried()
def store(notice: BankNotice, *, listed: bool = False) -> bool:
    """Keep what the bank says and nudge what it is about, in one transaction. False when it was kept already, or is
    about nothing of interest. `listed`: found in the bank's list, not brought by a webhook."""
    if not (notice.intent_id or notice.refund_id or notice.dispute_id):
        return False
    with transaction.atomic():
        event, is_new = BankEvent.objects.get_or_create(
            event_id=notice.event_id,
            defaults={
                "type": notice.type,
                "livemode": notice.livemode,
                "created": notice.created,
                "intent_id": notice.intent_id,
                "refund_id": notice.refund_id,
                "dispute_id": notice.dispute_id,
                "payment_ref": notice.payment_ref,
                "refund_ref": notice.refund_ref,
                "listed": listed,
                "due_at": Now(),
            },
        )
        if is_new:
            _settle(event)
        crash_point("W2")
    return is_new


def apply_events(*, limit: int = 100) -> int:
    """Try again the events that found nothing to nudge; returns how many were tried."""
    tried = 0
    while tried < limit and _apply_next():
        tried += 1
    return tried


def _apply_next() -> bool:
    """Each has a transaction of its own: no other order of locks is ever needed than that of one event."""
    with transaction.atomic():
        waiting = BankEvent.objects.select_for_update(skip_locked=True, no_key=True).filter(due_at__lte=Now())
        event = waiting.order_by("due_at", "id").first()
        if event is None:
            return False
        _settle(event)
    return True


def _settle(event: BankEvent) -> None:
    row = BankEvent.objects.filter(pk=event.pk)
    if _nudge(event):
        row.update(status=Status.APPLIED, applied_at=Now(), due_at=None)
    elif row.filter(received_at__lt=Now() - MATCH_WITHIN).update(status=Status.UNMATCHED, due_at=None):
        logger.error("action=unmatched event=%s type=%s", event.event_id, event.type)
    else:
        later = EARLY.delay(attempts=event.attempts + 1)
        row.update(attempts=F("attempts") + 1, due_at=Now() + later)


def _nudge(event: BankEvent) -> bool:
    """Ask for another look at what the event is about. False when that is nothing of ours, so far."""
    if event.refund_id:
        ours = Q(public_id=event.refund_ref) if event.refund_ref else Q()
        return claims.nudge(Refund.objects.filter(Q(refund_id=event.refund_id) | ours)) > 0
    ours = Q(public_id=event.payment_ref) if event.payment_ref else Q()
    theirs = Q(intent_id=event.intent_id) if event.intent_id else Q()
    payment = Payment.objects.filter(theirs | ours).first() if theirs or ours else None
    if payment is None:
        return False
    if event.type == CHARGED:
        services.wake_charged(intent_id=event.intent_id)
    claims.nudge(Payment.objects.filter(pk=payment.pk, settled_at__isnull=True))
    if event.dispute_id:
        _nudge_dispute(event.dispute_id, payment)
    return True


def _nudge_dispute(dispute_id: str, payment: Payment) -> None:
    story = {**payment.headers, "actor": "system"}
    dispute, is_new = Dispute.objects.get_or_create(
        dispute_id=dispute_id, defaults={"payment": payment, "headers": story, "due_at": Now()}
    )
    if is_new:
        claims.ring(Dispute)
    else:
        claims.nudge(Dispute.objects.filter(pk=dispute.pk))


def catch_up(*, gateway: Gateway | None = None, seconds: float = BUDGET) -> int:
    """Compare the bank's list of events with what its webhooks have brought, and keep what is missing; returns how
    many that were. Webhooks are missed when we were away for days, refused them (a wrong clock, a wrong secret), or
    the database was restored from a backup."""
    first = Payment.objects.order_by("pk").first()
    if first is None:
        return 0
    cursor, _ = BankEventCursor.objects.get_or_create()
    bank = gateway or gateways.make(connections=1)
    deadline = time.monotonic() + seconds
    found: list[BankNotice] = []
    recent: deque[BankNotice] = deque()
    through = cursor.event_id
    try:
        with calling("B1"):
            for notice in bank.list_events(after=cursor.event_id, since=first.created_at):
                if store(notice, listed=True):
                    found.append(notice)
                recent.append(notice)
                while recent[0].created < notice.created - OVERLAP:
                    through = recent.popleft().event_id
                if time.monotonic() > deadline:
                    break
    except ConnectionError as error:
        logger.warning("action=catch_up_failed reason=%r", str(error))
    BankEventCursor.objects.filter(pk=cursor.pk).update(event_id=through, moved_at=Now())
    _report(found)
    return len(found)


def _report(found: Sequence[BankNotice]) -> None:
    on_its_way = database_now() - ON_ITS_WAY
    missed = [notice.created for notice in found if notice.created < on_its_way]
    if missed:
        hint = "see the webhook endpoint at the bank, STRIPE_WEBHOOK_SECRET, and the clocks of the web servers"
        logger.error("action=webhooks_missed count=%s oldest=%s hint=%r", len(missed), min(missed), hint)


class NotUnmatched(Exception):
    """The event does not wait for a person; the message says how it stands."""


def set_aside(*, event: BankEvent, actor: str, reason: str) -> None:
    """A person knows what it was about: it waits no longer. Raises NotUnmatched, or ValueError without a reason."""
    with transaction.atomic():
        row = BankEvent.objects.select_for_update(no_key=True).get(pk=event.pk)
        if row.status != Status.UNMATCHED:
            raise NotUnmatched(f"It is {row.get_status_display().lower()}.")
        BankEvent.objects.filter(pk=row.pk).update(status=Status.SET_ASIDE)
        decisions.record(
            kind="set-aside", about=row, actor=actor, reason=reason, before=Status.UNMATCHED, after=Status.SET_ASIDE
        )


def purge(*, limit: int = BATCH) -> int:
    """Delete events that were applied or set aside and are older than the log's own retention, at most `limit`; the
    bank has long forgotten them. What was never matched stays until somebody has looked."""
    kept = dt.timedelta(days=settings.OUTBOX_RETENTION_DAYS)
    old = BankEvent.objects.filter(status__in=DONE, received_at__lt=Now() - kept).order_by("pk")
    deleted, _ = BankEvent.objects.filter(pk__in=list(old.values_list("pk", flat=True)[:limit])).delete()
    return deleted
