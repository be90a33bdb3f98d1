"""What differs between the bank's books and ours: how it is found, and how it is kept as rows of `Difference`."""

import datetime as dt
import logging
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Q
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

    pages: int = 0
    intents: int = 0
    refunds: int = 0
    nudged: int = 0
    adopted: int = 0
    found: list[Found] = field(default_factory=list)
    # In a worker's hands just now, or not asked for in time: nothing can be said about them.
    undecided: set[str] = field(default_factory=set)
    # The time was over before everything was compared: the next run goes on there.
    cut_off: bool = False
    open: int = 0
    resolved: int = 0


def waiting() -> int:
    """How many differences wait for a person."""
    return Difference.objects.filter(resolved_at__isnull=True, healing=False).count()


@retried()
def keep(report: Report, *, compared: Q, begun: dt.datetime) -> int:
    """Write what differs, and close what no longer does among the `compared`; returns how many were closed.

    What a person has resolved stays resolved while the same facts are seen. A healing one that is seen again by a
    later run was not healed: from then on it waits for a person.
    """
    with transaction.atomic():
        seen, new = _known(report.found)
        rows = Difference.objects.filter(pk__in=seen)
        rows.update(last_seen=Now())
        # Another run at the same moment is no later look.
        rows.filter(healing=True, first_seen__lt=begun).update(healing=False)
        Difference.objects.bulk_create([_row(each) for each in new], ignore_conflicts=True)
        healed = Difference.objects.filter(compared, resolved_at__isnull=True, last_seen__lt=begun)
        closed = healed.exclude(about__in=report.undecided).update(
            resolved_at=Now(), resolved_by=MACHINE, resolution="The bank's books and ours say the same again."
        )
    for each in new:
        if not each.healing:
            logger.error("action=differs kind=%s about=%s detail=%r", each.kind, each.about, each.detail)
    return closed


def _known(found: list[Found]) -> tuple[list[int], list[Found]]:
    """The rows that say this already, locked, and what no row says."""
    latest: dict[tuple[str, str], Difference] = {}
    abouts = [each.about for each in found]
    for row in Difference.objects.select_for_update(no_key=True, of=("self",)).filter(about__in=abouts).order_by("id"):
        latest[row.kind, row.about] = row
    seen, new = [], []
    for each in found:
        known = latest.get((each.kind, each.about))
        if known is not None and (known.resolved_at is None or _decided(known, each)):
            seen.append(known.pk)
        else:
            new.append(each)
    return seen, new


def _decided(row: Difference, found: Found) -> bool:
    """Whether a person has resolved exactly this."""
    return row.resolved_by != MACHINE and row.detail == _row(found).detail


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
