"""The refund worker: the sister of the payments worker, for money that goes back."""

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, Value, When
from django.db.models.functions import Now
from django.utils import timezone

from outbox import claims
from outbox.crash_points import crash_point
from outbox.database import database_now
from outbox.events import DomainEvent
from outbox.loops import process_name
from outbox.publisher import publish_all
from outbox.transport import calling
from outbox.worker import Engine
from payments import admission, gateways, journal
from payments.admission import Asked, Postponed
from payments.breaker import MONEY, Told
from payments.events import RefundFailed, RefundProcessed
from payments.gateways.base import Answer, Body, Gateway, Outcome
from payments.models import PaymentAttempt, Refund
from payments.refund_policy import Phase, Verdict, View, first_step, next_step, resting

logger = logging.getLogger(__name__)

# Refund, find: the longest useful conversation in one claim.
MAX_CALLS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundCall:
    """One journalled call of a claimed refund. `refund` is the row as it was claimed; `seen` its nudges."""

    refund: Refund
    intent_id: str
    attempt_id: int
    phase: Phase
    key: str
    body: Body
    seen: int
    number: int = 1
    was_due: dt.datetime | None = None
    moves_money: bool = False
    probe: bool = False


class RefundCaller:
    """The `Caller` for refunds."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._worker = process_name()
        self._lease = dt.timedelta(seconds=settings.PAYMENT_LEASE_SECONDS)
        self._settle = dt.timedelta(seconds=settings.PAYMENT_SETTLE_SECONDS)

    def claim(self, *, limit: int) -> list[RefundCall]:
        with transaction.atomic():
            room = admission.room(Refund, limit=limit)
            refunds = claims.claim(Refund, limit=room.limit, lease=self._lease, worker=self._worker, only=room.only)
            views = self._views(refunds)
            asked = [
                _asked(each, first_step(views[each.pk]), seen=each.nudges, was_due=each.due_at) for each in refunds
            ]
            admitted = admission.admit(asked, room=room)
            self._give_back(admitted.postponed, views)
            return self._open(admitted.calls)

    def _views(self, refunds: Sequence[Refund]) -> dict[int, View]:
        known = [refund.pk for refund in refunds if refund.attempts > 1 or refund.refund_id]
        uses = journal.by_key(PaymentAttempt.objects.filter(refund__in=known)) if known else {}
        now = database_now() if uses else timezone.now()
        return {
            refund.pk: View(
                status=refund.status,
                refund_id=refund.refund_id,
                use=journal.key_use(uses.get(refund.key(), ()), now),
                attempts=refund.attempts,
                settle=self._settle,
            )
            for refund in refunds
        }

    def _open(self, asked: Sequence[Asked[Refund, Phase]]) -> list[RefundCall]:
        """Journal the calls, before any of them is made."""
        if not asked:
            return []
        rows = Refund.objects.select_related("payment").in_bulk([each.row.pk for each in asked])
        calls = []
        for each in asked:
            refund, phase = each.row, each.step
            payment = rows[refund.pk].payment
            key, body = "", {}
            if phase is Phase.REFUND:
                key = refund.key()
                # Built from columns that never change: the same key always carries the same body.
                body = self._gateway.refund_body(
                    intent_id=payment.intent_id, refund=str(refund.public_id), amount=refund.amount
                )
            attempt = PaymentAttempt(
                payment=payment,
                refund=refund,
                phase=phase,
                key=key,
                request=body,
                card_no=payment.card_no,
                worker=self._worker,
            )
            calls.append((each, payment.intent_id, attempt))
        PaymentAttempt.objects.bulk_create([attempt for _, _, attempt in calls])
        return [
            RefundCall(
                refund=each.row,
                intent_id=intent_id,
                attempt_id=attempt.pk,
                phase=each.step,
                key=attempt.key,
                body=attempt.request,
                seen=each.seen,
                number=each.number,
                was_due=each.was_due,
                moves_money=each.moves_money,
                probe=each.probe,
            )
            for each, intent_id, attempt in calls
        ]

    @staticmethod
    def _give_back(postponed: Sequence[Postponed[Refund, Phase]], views: Mapping[int, View]) -> None:
        """What waits for the bank is as it was before its claim, but for when it is due."""
        for each in postponed:
            asked = each.asked
            claims.finish(
                asked.row,
                status=resting(views[asked.row.pk]),
                seen=asked.seen,
                due_in=each.due_in,
                attempts=F("attempts") - each.uncounted,
            )

    def perform(self, call: RefundCall) -> Answer:
        crash_point("C2")
        with calling("C3" if call.phase is Phase.REFUND else "B1"):
            match call.phase:
                case Phase.REFUND:
                    return self._gateway.refund(key=call.key, body=call.body)
                case Phase.READ:
                    return self._gateway.retrieve_refund(refund_id=call.refund.refund_id)
                case Phase.FIND:
                    return self._gateway.find_refund(intent_id=call.intent_id, refund=str(call.refund.public_id))

    def failed(self, call: RefundCall, error: Exception) -> Answer:
        return Answer(outcome=Outcome.UNKNOWN, code="internal_error", message=f"{type(error).__name__}: {error}")

    def record(self, results: Sequence[tuple[RefundCall, Answer]]) -> list[RefundCall]:
        crash_point("C5")
        with transaction.atomic():
            held = claims.held(Refund, [call.refund for call, _ in results])
            for call, answer in results:
                journal.close(call.attempt_id, answer, lost=call.refund.pk not in held)
            views = self._views(list(held.values()))
            asked: list[Asked[Refund, Phase]] = []
            told = []
            for call, answer in results:
                step = self._conclude(call, answer, held.get(call.refund.pk), views)
                if step is not None:
                    asked.append(step)
                told.append(Told(answer=answer, moves_money=call.moves_money, probe=call.probe, ends=step is None))
            admitted = admission.proceed(told, asked)
            self._give_back(admitted.postponed, views)
            following = self._open(admitted.calls)
        crash_point("C4")
        return following

    def _conclude(
        self, call: RefundCall, answer: Answer, refund: Refund | None, views: Mapping[int, View]
    ) -> Asked[Refund, Phase] | None:
        """The call that follows from an answer, or None: then the row is finished, where the claim still holds it."""
        if refund is None:
            logger.warning("action=claim_lost refund=%s phase=%s", call.refund.pk, call.phase)
            return None
        if answer.refund is not None and not refund.refund_id:
            refund.refund_id = answer.refund.id
            Refund.objects.filter(pk=refund.pk, token=refund.token).update(refund_id=refund.refund_id)
        step = next_step(views[refund.pk], call.phase, answer)
        if isinstance(step, Phase) and call.number >= MAX_CALLS:
            step = Verdict(status=Refund.Status.UNKNOWN, due_in=dt.timedelta(seconds=1))
        if isinstance(step, Phase):
            return _asked(refund, step, seen=call.seen, was_due=call.was_due, number=call.number + 1, probe=call.probe)
        self._finish(refund, step, seen=call.seen)
        return None

    def _finish(self, refund: Refund, verdict: Verdict, *, seen: int) -> None:
        """Write the verdict by token and publish what it means. Raises ClaimLost."""
        done = verdict.status in (Refund.Status.SUCCEEDED, Refund.Status.FAILED)
        claims.finish(
            refund,
            status=verdict.status,
            seen=seen,
            due_in=verdict.due_in,
            failure_code=verdict.failure_code,
            blocked_reason=verdict.blocked_reason,
            settled_at=Case(When(settled_at__isnull=True, then=Now()), default=F("settled_at"))
            if done
            else Value(None),
        )
        if verdict.blocked_reason:
            logger.error("action=blocked refund=%s reason=%s", refund.pk, verdict.blocked_reason)
        if verdict.status != refund.status and (event := _event(refund, verdict)):
            publish_all([(event, refund.context)])

    def unrecordable(self, call: RefundCall, answer: Answer, error: Exception) -> None:
        with transaction.atomic():
            held = claims.held(Refund, [call.refund])
            journal.close(call.attempt_id, answer, lost=not held)
            for refund in held.values():
                claims.finish(
                    refund,
                    status=Refund.Status.UNKNOWN,
                    seen=call.seen,
                    due_in=None,
                    blocked_reason=f"our own error while recording a {call.phase}: {error!r}",
                )


def make_engine(*, in_flight: int = 4, gateway: Gateway | None = None) -> Engine[RefundCall, Answer]:
    """The refund worker. Refunds are few: four calls at once leave the bank's limits to the payments."""
    caller = RefundCaller(gateway or gateways.make(connections=in_flight))
    return Engine(caller, in_flight=in_flight, name="refunds")


def _asked(
    refund: Refund, phase: Phase, *, seen: int, was_due: dt.datetime | None, number: int = 1, probe: bool = False
) -> Asked[Refund, Phase]:
    return Asked(
        row=refund, step=phase, seen=seen, was_due=was_due, moves_money=phase in MONEY, number=number, probe=probe
    )


def _event(refund: Refund, verdict: Verdict) -> DomainEvent | None:
    payment = refund.payment
    match verdict.status:
        case Refund.Status.SUCCEEDED:
            return RefundProcessed(
                order_id=payment.order_id,
                payment_id=str(payment.public_id),
                amount=refund.amount,
                currency=refund.currency,
                refund_id=str(refund.public_id),
                reason=refund.reason,
            )
        case Refund.Status.FAILED:
            return RefundFailed(
                order_id=payment.order_id,
                payment_id=str(payment.public_id),
                amount=refund.amount,
                currency=refund.currency,
                refund_id=str(refund.public_id),
                code=verdict.failure_code,
            )
    return None
