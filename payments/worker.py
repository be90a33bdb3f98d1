"""The payments worker: claim ▸ journal ▸ call ▸ record, for every payment that is due.

The engine (outbox/worker.py) runs it; `policy` decides; here the rows are written. A claim makes at most
MAX_CALLS calls, whose deadlines together fit into the lease.
"""

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
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
from payments import admission, gateways, journal, services
from payments.admission import Asked, Postponed
from payments.breaker import MONEY, Told
from payments.events import PaymentActionRequired, PaymentDeclined, PaymentFailed, PaymentProcessed
from payments.gateways.base import Answer, Body, Gateway, Outcome
from payments.models import Payment, PaymentAttempt
from payments.policy import Call, Phase, Step, Verdict, View, first_step, next_step, resting

logger = logging.getLogger(__name__)

# Create, confirm, read, confirm again: the longest useful conversation in one claim.
MAX_CALLS = 4

_SENT = {Phase.CREATE: "P2", Phase.CONFIRM: "P5", Phase.CANCEL: "X2", Phase.RETRIEVE: "B1"}
_RECEIVED = {Phase.CREATE: "P3", Phase.CONFIRM: "P6", Phase.CANCEL: "P6", Phase.RETRIEVE: "P6"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BankCall:
    """One journalled call of a claimed payment. `payment` is the row as it was claimed; `seen` its nudges."""

    payment: Payment
    attempt_id: int
    phase: Phase
    key: str
    body: Body
    card_no: int
    seen: int
    number: int = 1
    was_due: dt.datetime | None = None
    moves_money: bool = False
    probe: bool = False


class PaymentCaller:
    """The `Caller` for payments."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._worker = process_name()
        self._lease = dt.timedelta(seconds=settings.PAYMENT_LEASE_SECONDS)
        self._settle = dt.timedelta(seconds=settings.PAYMENT_SETTLE_SECONDS)

    # --- claim ------------------------------------------------------------------------------------

    def claim(self, *, limit: int) -> list[BankCall]:
        calls: list[BankCall] = []
        claimed = True
        while claimed and not calls:  # rows that need no call make room for those that do
            claimed, calls = self._claim(limit)
        if calls:
            crash_point("P1")
        return calls

    def _claim(self, limit: int) -> tuple[bool, list[BankCall]]:
        with transaction.atomic():
            room = admission.room(Payment, limit=limit)
            payments = claims.claim(Payment, limit=room.limit, lease=self._lease, worker=self._worker, only=room.only)
            views = self._views(payments)
            steps = [(payment, first_step(views[payment.pk])) for payment in payments]
            asked = [
                _asked(payment, step, seen=payment.nudges, was_due=payment.due_at)
                for payment, step in steps
                if isinstance(step, Call)
            ]
            admitted = admission.admit(asked, room=room)
            calls = self._open(admitted.calls)
            self._give_back(admitted.postponed, views)
            ended = [(payment, step) for payment, step in steps if isinstance(step, Verdict)]
            for payment, verdict in ended:
                self._finish(payment, verdict, seen=payment.nudges)
        return bool(payments), calls

    def _views(self, payments: Sequence[Payment]) -> dict[int, View]:
        """What policy needs, with the journal read once for all payments that have one."""
        known = [payment.pk for payment in payments if payment.attempts > 1 or payment.intent_id or payment.generation]
        uses = journal.by_key(PaymentAttempt.objects.filter(payment__in=known, refund=None)) if known else {}
        now = database_now() if uses else timezone.now()
        return {payment.pk: self._view(payment, uses, now) for payment in payments}

    def _view(self, payment: Payment, uses: journal.Uses, now: dt.datetime) -> View:
        return View(
            status=payment.status,
            intent_id=payment.intent_id,
            create=journal.key_use(uses.get(payment.create_key(), ()), now),
            confirm=journal.key_use(uses.get(payment.confirm_key(), ()), now),
            latest_charge=payment.latest_charge,
            payment_method=payment.payment_method,
            attempts=payment.attempts,
            settle=self._settle,
        )

    def _open(self, asked: Sequence[Asked[Payment, Call]]) -> list[BankCall]:
        """Journal the calls, before any of them is made."""
        if not asked:
            return []
        keys = []
        for each in asked:
            if each.step.renew:
                each.row.generation += 1
                Payment.objects.filter(pk=each.row.pk).update(generation=each.row.generation)
            keys.append(self._key(each.row, each.step.phase))
        sent = journal.bodies_sent({each.row.pk: key for each, key in zip(asked, keys, strict=True)})
        attempts = [
            PaymentAttempt(
                payment=each.row,
                phase=each.step.phase,
                key=key,
                request=sent.get(key) or self._body(each.row, each.step.phase),
                card_no=each.row.card_no,
                worker=self._worker,
            )
            for each, key in zip(asked, keys, strict=True)
        ]
        PaymentAttempt.objects.bulk_create(attempts)
        return [
            BankCall(
                payment=each.row,
                attempt_id=attempt.pk,
                phase=each.step.phase,
                key=key,
                body=attempt.request,
                card_no=each.row.card_no,
                seen=each.seen,
                number=each.number,
                was_due=each.was_due,
                moves_money=each.moves_money,
                probe=each.probe,
            )
            for each, key, attempt in zip(asked, keys, attempts, strict=True)
        ]

    @staticmethod
    def _give_back(postponed: Sequence[Postponed[Payment, Call]], views: Mapping[int, View]) -> None:
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

    @staticmethod
    def _key(payment: Payment, phase: Phase) -> str:
        match phase:
            case Phase.CREATE:
                return payment.create_key()
            case Phase.CONFIRM:
                return payment.confirm_key()
            case Phase.CANCEL:
                # Canceling twice does no harm, while an old refusal must not be replayed: a key for each claim.
                return f"payment:{payment.public_id}:cancel:{payment.attempts}"
        return ""

    def _body(self, payment: Payment, phase: Phase) -> Body:
        match phase:
            case Phase.CREATE:
                return self._gateway.create_body(
                    order_id=payment.order_id,
                    payment=str(payment.public_id),
                    reference=payment.reference,
                    amount=payment.amount,
                    currency=payment.currency,
                )
            case Phase.CONFIRM:
                return self._gateway.confirm_body(payment_method=payment.payment_method, return_url=payment.return_url)
        return {}

    # --- call -------------------------------------------------------------------------------------

    def perform(self, call: BankCall) -> Answer:
        with calling(_SENT[call.phase]):
            match call.phase:
                case Phase.CREATE:
                    return self._gateway.create(key=call.key, body=call.body)
                case Phase.CONFIRM:
                    intent_id = call.payment.intent_id
                    return self._gateway.confirm(intent_id=intent_id, key=call.key, body=call.body)
                case Phase.RETRIEVE:
                    return self._gateway.retrieve(intent_id=call.payment.intent_id)
                case Phase.CANCEL:
                    return self._gateway.cancel(intent_id=call.payment.intent_id, key=call.key)

    def failed(self, call: BankCall, error: Exception) -> Answer:
        return Answer(outcome=Outcome.UNKNOWN, code="internal_error", message=f"{type(error).__name__}: {error}")

    # --- record -----------------------------------------------------------------------------------

    def record(self, results: Sequence[tuple[BankCall, Answer]]) -> list[BankCall]:
        for point in {_RECEIVED[call.phase] for call, _ in results}:
            crash_point(point)
        with transaction.atomic():
            held = claims.held(Payment, [call.payment for call, _ in results])
            for call, answer in results:
                journal.close(call.attempt_id, answer, lost=call.payment.pk not in held)
            views = self._views(list(held.values()))
            asked: list[Asked[Payment, Call]] = []
            told = []
            for call, answer in results:
                step = self._conclude(call, answer, held.get(call.payment.pk), views)
                if step is not None:
                    asked.append(step)
                told.append(Told(answer=answer, moves_money=call.moves_money, probe=call.probe, ends=step is None))
            admitted = admission.proceed(told, asked)
            self._give_back(admitted.postponed, views)
            following = self._open(admitted.calls)
        for point in {"P4" if call.phase is Phase.CREATE else "P7" for call, _ in results}:
            crash_point(point)
        if any(call.phase is Phase.CANCEL for call, _ in results):
            crash_point("X3")
        return following

    def _conclude(
        self, call: BankCall, answer: Answer, payment: Payment | None, views: Mapping[int, View]
    ) -> Asked[Payment, Call] | None:
        """The call that follows from an answer, or None: then the row is finished, where the claim still holds it."""
        if payment is None:
            logger.warning("action=claim_lost payment=%s phase=%s", call.payment.pk, call.phase)
            return None
        self._note_intent(payment, answer)
        step = _within_lease(next_step(views[payment.pk], call.phase, answer), payment, call)
        if isinstance(step, Call):
            return _asked(payment, step, seen=call.seen, was_due=call.was_due, number=call.number + 1, probe=call.probe)
        self._finish(payment, step, seen=call.seen)
        return None

    @staticmethod
    def _note_intent(payment: Payment, answer: Answer) -> None:
        """Save the intent's id as soon as it is known: from now on the intent itself says what happened."""
        if answer.intent is not None and not payment.intent_id:
            payment.intent_id = answer.intent.id
            Payment.objects.filter(pk=payment.pk, token=payment.token).update(intent_id=payment.intent_id)

    def _finish(self, payment: Payment, verdict: Verdict, *, seen: int) -> None:
        """Write the verdict by token and publish what it means. Raises ClaimLost."""
        fields: dict[str, object] = {}
        if verdict.intent is not None:
            fields["latest_charge"] = verdict.intent.latest_charge
        final = verdict.status in Payment.FINAL
        claims.finish(
            payment,
            status=verdict.status,
            seen=seen,
            due_in=verdict.due_in,
            failure_code=verdict.failure_code,
            blocked_reason=verdict.blocked_reason,
            action_url=verdict.intent.action_url if verdict.intent and not final else "",
            settled_at=Now() if final else None,
            **fields,
        )
        if verdict.blocked_reason:
            logger.error("action=blocked payment=%s reason=%s", payment.pk, verdict.blocked_reason)
        if event := _event(payment, verdict):
            publish_all([(event, payment.context)])

    def unrecordable(self, call: BankCall, answer: Answer, error: Exception) -> None:
        """Keep what can be kept: the journal's row, and the payment out of the claims until a person looks."""
        with transaction.atomic():
            held = claims.held(Payment, [call.payment])
            journal.close(call.attempt_id, answer, lost=not held)
            for payment in held.values():
                claims.finish(
                    payment,
                    status=payment.status if payment.status == Payment.Status.CANCELING else Payment.Status.UNKNOWN,
                    seen=call.seen,
                    due_in=None,
                    blocked_reason=f"our own error while recording a {call.phase}: {error!r}",
                )


def make_engine(*, in_flight: int | None = None, gateway: Gateway | None = None) -> Engine[BankCall, Answer]:
    """The payments worker, with so many calls under way at once (PAYMENT_IN_FLIGHT)."""
    number = in_flight or settings.PAYMENT_IN_FLIGHT
    caller = PaymentCaller(gateway or gateways.make(connections=number))
    return Engine(caller, in_flight=number, name="payments")


def _asked(
    payment: Payment, call: Call, *, seen: int, was_due: dt.datetime | None, number: int = 1, probe: bool = False
) -> Asked[Payment, Call]:
    # An intent that is created only to be canceled moves no money.
    moves_money = call.phase in MONEY and payment.status != Payment.Status.CANCELING
    return Asked(
        row=payment, step=call, seen=seen, was_due=was_due, moves_money=moves_money, number=number, probe=probe
    )


def _within_lease(step: Step, payment: Payment, call: BankCall) -> Step:
    """The next claim goes on where this one has made all the calls its lease allows."""
    if isinstance(step, Call) and call.number >= MAX_CALLS:
        canceling = payment.status == Payment.Status.CANCELING
        status = Payment.Status.CANCELING if canceling else Payment.Status.UNKNOWN
        return Verdict(status=status, due_in=dt.timedelta(seconds=1))
    return step


def _event(payment: Payment, verdict: Verdict) -> DomainEvent | None:
    """The fact to publish; None when the status did not change for others."""
    if verdict.status == payment.status and not verdict.failure_code:
        return None
    known: dict[str, Any] = {
        "order_id": payment.order_id,
        "payment_id": str(payment.public_id),
        "amount": payment.amount,
        "currency": payment.currency,
    }
    match verdict.status:
        case Payment.Status.SUCCEEDED:
            return PaymentProcessed(**known, intent_id=payment.intent_id)
        case Payment.Status.DECLINED:
            return PaymentDeclined(**known, card_no=payment.card_no, code=verdict.failure_code)
        case Payment.Status.REQUIRES_ACTION:
            return PaymentActionRequired(**known, card_no=payment.card_no)
        case Payment.Status.FAILED:
            return PaymentFailed(**known, code=verdict.failure_code)
        case Payment.Status.CANCELED:
            return services.canceled(payment, code="requested")
    return None
