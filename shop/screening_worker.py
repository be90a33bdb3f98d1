"""The screening worker: claim ▸ call ▸ record, for every question that is due.

There is no journal: whoever asks again under the same reference gets the same answer, so an answer that was lost, with
its worker or with its claim, is simply fetched again. Lock order: the order, then its screening.
"""

import datetime as dt
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction

from outbox import claims
from outbox.claims import Result
from outbox.crash_points import crash_point
from outbox.database import database_now
from outbox.loops import process_name
from outbox.worker import Engine
from shop import screening_service
from shop.acting import locked
from shop.models import Order, Screening
from shop.screening import Answer, Outcome, Verdict, after_call, conclude
from shop.screening_service import Question, ScreeningService, question

logger = logging.getLogger(__name__)

# Calls at once: they are slow, and wait for others most of the time.
IN_FLIGHT = 8
# Beyond a call's own time: to make the connection, and to write the result while the database restarts.
LEASE_MARGIN = dt.timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreeningCall:
    """One call of a claimed screening, the row as it was claimed."""

    screening: Screening
    question: Question


class ScreeningCaller:
    """The `Caller` for screenings."""

    def __init__(self, service: ScreeningService) -> None:
        self._service = service
        self._worker = process_name()
        self._lease = dt.timedelta(seconds=settings.SCREENING_TIMEOUT) + LEASE_MARGIN

    def claim(self, *, limit: int) -> list[ScreeningCall]:
        with transaction.atomic():
            rows = claims.claim(Screening, limit=limit, lease=self._lease, worker=self._worker)
            orders = Order.objects.in_bulk([row.order_id for row in rows])
        return [
            ScreeningCall(screening=row, question=question(orders[row.order_id], reference=row.public_id))
            for row in rows
        ]

    def perform(self, call: ScreeningCall) -> Answer:
        return self._service.check(call.question)

    def failed(self, call: ScreeningCall, error: Exception) -> Answer:
        return Answer(outcome=Outcome.UNKNOWN, detail=f"our own error: {error!r}")

    def record(self, results: Sequence[tuple[ScreeningCall, Answer]]) -> list[ScreeningCall]:
        crash_point("S3")
        with transaction.atomic():
            orders = locked([call.screening.order_id for call, _ in results])
            held = claims.held(Screening, [call.screening for call, _ in results])
            now = database_now()
            verdicts = []
            for call, answer in results:
                screening = held.get(call.screening.pk)
                if screening is None:
                    logger.warning("action=claim_lost screening=%s", call.screening.pk)
                    continue
                verdict = after_call(answer, attempts=screening.attempts, age=now - screening.created_at)
                verdicts.append((call, screening, answer, verdict))
            claims.finish([self._result(*each) for each in verdicts])
            for _, screening, answer, verdict in verdicts:
                if answer.outcome != Outcome.ANSWERED:
                    logger.warning("action=no_answer screening=%s outcome=%s", screening.pk, answer.outcome)
                if verdict.status in Screening.FINAL:
                    conclude(screening, order=orders[screening.order_id], result=verdict.status, answer=answer)
        crash_point("S2")
        return []

    @staticmethod
    def _result(call: ScreeningCall, screening: Screening, answer: Answer, verdict: Verdict) -> Result:
        return Result(
            row=screening,
            status=verdict.status,
            seen=call.screening.nudges,
            due_in=verdict.due_in,
            fields={"outcome": answer.outcome, "detail": answer.detail, "check_id": answer.check_id},
        )

    def unrecordable(self, call: ScreeningCall, answer: Answer, error: Exception) -> None:
        with transaction.atomic():
            held = claims.held(Screening, [call.screening])
            reason = f"our own error while recording the service's answer: {error!r}"
            claims.finish(
                [
                    Result(
                        row=screening,
                        status=Screening.Status.PENDING,
                        seen=call.screening.nudges,
                        due_in=None,
                        blocked_reason=reason,
                        fields={"outcome": answer.outcome, "detail": answer.detail},
                    )
                    for screening in held.values()
                ]
            )


def make_engine(*, service: ScreeningService | None = None) -> Engine[ScreeningCall, Answer]:
    caller = ScreeningCaller(service or screening_service.make(connections=IN_FLIGHT))
    return Engine(caller, in_flight=IN_FLIGHT, name="screenings")
