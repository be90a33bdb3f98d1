"""The refund worker: the sister of the payments worker, for money that goes back."""

import datetime as dt
import logging
from collections.abc import Sequence
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
from payments import gateways, journal
from payments.events import RefundFailed, RefundProcessed
from payments.gateways.base import Answer, Body, Gateway, Outcome
from payments.models import PaymentAttempt, Refund
from payments.refund_policy import Phase, Step, Verdict, View, first_step, next_step

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


class RefundCaller:
    """The `Caller` for refunds."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._worker = process_name()
        self._lease = dt.timedelta(seconds=settings.PAYMENT_LEASE_SECONDS)
        self._settle = dt.timedelta(seconds=settings.PAYMENT_SETTLE_SECONDS)

    def claim(self, *, limit: int) -> list[RefundCall]:
        with transaction.atomic():
            refunds = claims.claim(Refund, limit=limit, lease=self._lease, worker=self._worker)
            views = self._views(refunds)
            # The first step of a claimed refund is always a call.
            return self._open([(each, first_step(views[each.pk]), 1, each.nudges) for each in refunds])

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

    def _open(self, asked: Sequence[tuple[Refund, Step, int, int]]) -> list[RefundCall]:
        """Journal the calls, before any of them is made. `asked` holds refund, phase, its number, seen nudges."""
        rows = Refund.objects.select_related("payment").in_bulk([refund.pk for refund, _, _, _ in asked])
        calls = []
        for refund, phase, number, seen in asked:
            if not isinstance(phase, Phase):
                raise TypeError(f"{phase} is no call")
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
            calls.append((refund, payment.intent_id, attempt, phase, key, body, seen, number))
        PaymentAttempt.objects.bulk_create([each[2] for each in calls])
        return [
            RefundCall(
                refund=refund,
                intent_id=intent_id,
                attempt_id=attempt.pk,
                phase=phase,
                key=key,
                body=body,
                seen=seen,
                number=number,
            )
            for refund, intent_id, attempt, phase, key, body, seen, number in calls
        ]

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
            asked: list[tuple[Refund, Step, int, int]] = []
            for call, answer in results:
                refund = held.get(call.refund.pk)
                if refund is None:
                    logger.warning("action=claim_lost refund=%s phase=%s", call.refund.pk, call.phase)
                    continue
                if answer.refund is not None and not refund.refund_id:
                    refund.refund_id = answer.refund.id
                    Refund.objects.filter(pk=refund.pk, token=refund.token).update(refund_id=refund.refund_id)
                step = next_step(views[refund.pk], call.phase, answer)
                if isinstance(step, Phase) and call.number >= MAX_CALLS:
                    step = Verdict(status=Refund.Status.UNKNOWN, due_in=dt.timedelta(seconds=1))
                if isinstance(step, Verdict):
                    self._finish(refund, step, seen=call.seen)
                else:
                    asked.append((refund, step, call.number + 1, call.seen))
            following = self._open(asked)
        crash_point("C4")
        return following

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
