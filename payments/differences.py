"""What differs between the bank's books and ours: how it is found, and how it is kept as rows of `Difference`."""

import datetime as dt
import logging
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models.functions import Now

from outbox.database import retried
from payments.models import Difference, Payment

logger = logging.getLogger(__name__)

# Who resolves what has become right again.
MACHINE = "system:reconciliation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A difference as it was seen; `healing`: a worker was asked to look, which may be all that is needed."""

    kind: Difference.Kind
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


@retried()
def keep(report: Report, *, since: dt.datetime, begun: dt.datetime) -> tuple[int, int]:
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
