"""The mail worker: claim ▸ journal ▸ call ▸ record, for every message that is due.

The engine (outbox/worker.py) runs it; `policy` decides; here the rows are written. A claim makes one call.
A message found in `sending` lost its worker: whether it went out is in doubt, and no doubt is settled by sending.
"""

import datetime as dt
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models import Count, DurationField, Exists, ExpressionWrapper, F, OuterRef, Subquery
from django.db.models.functions import Now

from notifications import mailers
from notifications.mailers.base import Mailer, Outcome, Receipt
from notifications.models import MailEvent, Message, MessageAttempt
from notifications.policy import MISCONFIGURED, Doubt, Status, Verdict, after_call, in_doubt
from outbox import claims, journals, prepared
from outbox.claims import Result
from outbox.crash_points import crash_point
from outbox.horizon import Horizon
from outbox.loops import process_name
from outbox.worker import Engine

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailCall:
    """The journalled call of a claimed message. `message` is the row as it was claimed."""

    message: Message
    attempt_id: int


@dataclass(frozen=True, slots=True)
class Ended:
    """What becomes of a message, a row of the claim or of `claims.held`. `seen` as in claims.Result; None where no call
    was made."""

    message: Message
    verdict: Verdict
    seen: int | None = None
    provider_id: str = ""

    def result(self) -> Result:
        return Result(
            row=self.message,
            status=self.verdict.status,
            seen=self.message.nudges if self.seen is None else self.seen,
            due_in=self.verdict.due_in,
            blocked_reason=self.verdict.blocked_reason,
            fields={
                "attempts": self.message.attempts,
                "provider_id": self.provider_id if self.verdict.status == Status.SENT else "",
            },
        )


class MessageCaller:
    """The `Caller` for messages."""

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer
        self._worker = process_name()
        self._horizon = Horizon()
        self._lease = dt.timedelta(seconds=settings.MAIL_LEASE_SECONDS)
        # What the provider refuses to all (a wrong key, too many calls) is not asked again for every message.
        self._pause_until = 0.0

    # --- claim ------------------------------------------------------------------------------------

    def claim(self, *, limit: int) -> list[MailCall]:
        if time.monotonic() < self._pause_until:
            return []
        calls: list[MailCall] = []
        claimed = True
        while claimed and not calls:  # rows that need no call make room for those that do
            with transaction.atomic():
                claimed, calls = self._claim(limit)
        if calls:
            crash_point("E1")
        return calls

    def _claim(self, limit: int) -> tuple[bool, list[MailCall]]:
        messages = claims.claim(Message, limit=limit, lease=self._lease, worker=self._worker, horizon=self._horizon)
        stranded = [message for message in messages if message.claimed_from == Status.SENDING]
        for message in stranded:
            logger.warning("action=stranded message=%s", message.pk)
        self._finish([Ended(message, after_call(Outcome.AMBIGUOUS, attempts=message.attempts)) for message in stranded])
        self._settle([message for message in messages if message.claimed_from == Status.AMBIGUOUS])
        return bool(messages), self._open([each for each in messages if each.claimed_from == Status.PENDING])

    def _open(self, messages: Sequence[Message]) -> list[MailCall]:
        """Journal the calls, before any of them is made."""
        if not messages:
            return []
        rows = (prepared.row(MessageAttempt, message_id=message.pk, worker=self._worker) for message in messages)
        opened = journals.open_all(MessageAttempt, rows)
        return [
            MailCall(message=message, attempt_id=number) for message, (number,) in zip(messages, opened, strict=True)
        ]

    def _settle(self, messages: Sequence[Message]) -> None:
        """Look for evidence about messages in doubt."""
        if not messages:
            return
        doubts = _doubts(messages)
        self._finish(
            [
                Ended(message, in_doubt(doubt), provider_id=provider_id)
                for message in messages
                for doubt, provider_id in [doubts[message.pk]]
            ]
        )

    # --- call -------------------------------------------------------------------------------------

    def perform(self, call: MailCall) -> Receipt:
        return self._mailer.send(call.message)

    def failed(self, call: MailCall, error: Exception) -> Receipt:
        return Receipt(outcome=Outcome.AMBIGUOUS, detail=f"our own error: {error!r}")

    # --- record -----------------------------------------------------------------------------------

    def record(self, results: Sequence[tuple[MailCall, Receipt]]) -> list[MailCall]:
        crash_point("E3")
        with transaction.atomic():
            held = claims.held(Message, [call.message for call, _ in results])
            _close([(call, receipt, call.message.pk not in held) for call, receipt in results])
            self._finish(
                [_ended(call, held[call.message.pk], receipt) for call, receipt in results if call.message.pk in held]
            )
            lost = [call.message.pk for call, _ in results if call.message.pk not in held]
            if lost:
                # The fact is in the journal now: whoever holds the message in doubt shall read it there.
                logger.warning("action=claim_lost messages=%s", lost)
                claims.nudge(Message.objects.filter(pk__in=lost, status=Status.AMBIGUOUS))
        crash_point("E4")
        self._slow_down([receipt for _, receipt in results])
        return []

    def _finish(self, ended: Sequence[Ended]) -> None:
        """Write verdicts by token. Raises ClaimLost."""
        claims.finish([each.result() for each in ended])
        for each in ended:
            if each.verdict.status == Status.FAILED or each.verdict.blocked_reason:
                kind = "blocked" if each.verdict.blocked_reason else "failed"
                logger.error("action=%s message=%s", kind, each.message.pk)

    def _slow_down(self, receipts: Sequence[Receipt]) -> None:
        """A refusal of us, not of a mail, lets this worker rest for a moment."""
        if any(receipt.outcome == Outcome.MISCONFIGURED for receipt in receipts):
            logger.critical("action=misconfigured hint='check SENDGRID_API_KEY and SENDGRID_API_BASE'")
            self._pause_until = time.monotonic() + MISCONFIGURED.first.total_seconds()
        for receipt in receipts:
            if receipt.http_status == 429:
                rest = (receipt.retry_after or dt.timedelta(seconds=1)).total_seconds()
                self._pause_until = max(self._pause_until, time.monotonic() + rest)

    def unrecordable(self, call: MailCall, answer: Receipt, error: Exception) -> None:
        """Keep what can be kept: the journal's row, and the message out of the claims until a person looks."""
        with transaction.atomic():
            held = claims.held(Message, [call.message])
            _close([(call, answer, not held)])
            reason = f"our own error while recording the provider's answer ({answer.outcome}): {error!r}"
            verdict = Verdict(status=Status.AMBIGUOUS, blocked_reason=reason)
            self._finish([Ended(message, verdict) for message in held.values()])


def make_engine(*, in_flight: int | None = None, mailer: Mailer | None = None) -> Engine[MailCall, Receipt]:
    """The mail worker, with so many calls under way at once (MAIL_IN_FLIGHT)."""
    number = in_flight or settings.MAIL_IN_FLIGHT
    caller = MessageCaller(mailer or mailers.make(connections=number))
    return Engine(caller, in_flight=number, name="messages")


def _ended(call: MailCall, message: Message, receipt: Receipt) -> Ended:
    """What a call came to, for the message that its claim still holds."""
    verdict = after_call(receipt.outcome, attempts=message.attempts, retry_after=receipt.retry_after)
    if receipt.outcome == Outcome.MISCONFIGURED:
        message.attempts -= 1  # no try of the mail's own
    return Ended(message, verdict, seen=call.message.nudges, provider_id=receipt.provider_id)


def _close(answers: Sequence[tuple[MailCall, Receipt, bool]]) -> None:
    """Close the journal's rows; `True` says that the claim had ended before the answer came."""
    journals.close_all(
        MessageAttempt,
        [
            {
                "id": call.attempt_id,
                "outcome": receipt.outcome,
                "http_status": receipt.http_status,
                "provider_id": receipt.provider_id,
                "detail": receipt.detail,
                "duration_ms": round(receipt.duration.total_seconds() * 1000),
                "claim_lost": lost,
            }
            for call, receipt, lost in answers
        ],
    )


def _doubts(messages: Sequence[Message]) -> dict[int, tuple[Doubt, str]]:
    """What is known about messages in doubt, and the provider's id where a late answer or a webhook brought one."""
    last = MessageAttempt.objects.filter(message=OuterRef("pk")).order_by("-id")
    heard = MailEvent.objects.filter(message=OuterRef("pk"))
    rows = Message.objects.filter(pk__in=[message.pk for message in messages]).annotate(
        age=ExpressionWrapper(Now() - F("ambiguous_at"), output_field=DurationField()),
        calls=Count("journal"),
        last_outcome=Subquery(last.values("outcome")[:1]),
        last_provider_id=Subquery(last.values("provider_id")[:1]),
        heard_of=Exists(heard),
        heard_provider_id=Subquery(heard.order_by("-provider_id").values("provider_id")[:1]),
    )
    return {
        row.pk: (
            Doubt(
                age=row.age,
                calls=row.calls,
                last_outcome=row.last_outcome,
                rather_twice=row.rather_twice,
                attempts=row.attempts,
                heard_of=row.heard_of,
            ),
            row.last_provider_id or row.heard_provider_id or "",
        )
        for row in rows
    }
