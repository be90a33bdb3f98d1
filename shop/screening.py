"""Screening: a slow check of an order by a service outside, while the order is under review.

The question is a row written with the review; the worker asks (shop/screening_worker.py). An answer decides about
the order only if nothing else is against it and no person was faster; without one a person decides.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from django.conf import settings
from django.db.models.functions import Now

from outbox import claims, context
from outbox.backoff import Backoff
from shop.acceptance import SCREENING
from shop.acting import Decided
from shop.decisions import review_order
from shop.models import Concern, Order, Screening

Status = Screening.Status
Outcome = Screening.Outcome

# Who decides, in the order's decisions.
ACTOR = "system:screening"
AGAIN = Backoff(first=dt.timedelta(seconds=1), longest=dt.timedelta(minutes=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is known about one call. `result` and `check_id`, the service's name for it, only when it was answered."""

    outcome: Outcome
    result: Literal["passed", "failed", ""] = ""
    check_id: str = ""
    detail: str = ""
    retry_after: dt.timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The screening's next status; `due_in` None: it is final."""

    status: Status
    due_in: dt.timedelta | None = None


def request(steps: Sequence[Decided]) -> None:
    """Write the question about each order whose review asks for it, in the review's own transaction."""
    rows = [
        Screening(
            order=each.order,
            decides=each.reasons == (SCREENING,),
            due_at=Now(),
            headers=each.context.headers(),
        )
        for each in steps
        if each.state.status == Order.Status.UNDER_REVIEW and SCREENING in each.reasons
    ]
    if rows:
        Screening.objects.bulk_create(rows)
        claims.ring(Screening)


def after_call(answer: Answer, *, attempts: int, age: dt.timedelta) -> Verdict:
    """What becomes of a question after a call, its `attempts`-th. To ask again is always harmless, as the service
    knows our reference: it only has to end some time."""
    if answer.outcome == Outcome.ANSWERED:
        return Verdict(status=Status.PASSED if answer.result == "passed" else Status.FAILED)
    delay = max(answer.retry_after or dt.timedelta(0), AGAIN.delay(attempts=attempts))
    patience = dt.timedelta(minutes=settings.SCREENING_PATIENCE_MINUTES)
    if answer.outcome == Outcome.REFUSED or age + delay > patience:
        return Verdict(status=Status.UNANSWERED)
    return Verdict(status=Status.PENDING, due_in=delay)


def conclude(screening: Screening, *, order: Order, result: Status, answer: Answer) -> None:
    """Draw the consequence of a final result, in the transaction that writes it. Needs the order's lock."""
    if order.status != Order.Status.UNDER_REVIEW:
        return  # a person, or the shopper, was faster: the result is only kept
    with context.bound(screening.context):
        if result == Status.UNANSWERED:
            Concern.objects.create(order=order, kind="screening_unanswered", detail=answer.detail)
        elif screening.decides:
            review_order(
                order_id=order.pk,
                accepted=result == Status.PASSED,
                actor=ACTOR,
                reason=f"screening {result}: {answer.check_id}",
            )
