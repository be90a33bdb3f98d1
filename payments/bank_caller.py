"""What all workers that call the bank have in common: claim ▸ journal ▸ call ▸ record.

The engine (outbox/worker.py) runs a caller; `policy` and its sisters decide; `admission` says what may be asked now. A
subclass knows one kind of claimed row.
"""

import datetime as dt
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from django.conf import settings
from django.db import transaction

from outbox import claims, prepared
from outbox.claims import Claimable, Result
from outbox.events import DomainEvent
from outbox.horizon import Horizon
from outbox.loops import process_name
from outbox.publisher import publish_all
from payments import admission, journal
from payments.admission import Asked, Postponed
from payments.breaker import Told
from payments.gateways.base import Answer, Gateway, Outcome
from payments.journal import Opened

logger = logging.getLogger(__name__)


class Verdict(Protocol):
    """What all policies say of a row that goes back."""

    @property
    def status(self) -> str: ...

    @property
    def due_in(self) -> dt.timedelta | None: ...

    @property
    def blocked_reason(self) -> str: ...


RowT = TypeVar("RowT", bound=Claimable)
StepT = TypeVar("StepT")
ViewT = TypeVar("ViewT")
VerdictT = TypeVar("VerdictT", bound=Verdict)

# Until the next claim goes on where one has made all the calls that its lease allows.
GO_ON_IN = dt.timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class BankCall(Generic[RowT, StepT]):
    """One call that was asked for, and its row in the journal with key and body."""

    asked: Asked[RowT, StepT]
    attempt: Opened

    @property
    def row(self) -> RowT:
        """As it was when the call was asked for."""
        return self.asked.row

    @property
    def step(self) -> StepT:
        return self.asked.step


class BankCaller(ABC, Generic[RowT, StepT, ViewT, VerdictT]):
    """A `Caller` for the engine. What is decided about a row is a call (`Asked`), or a verdict that gives it back."""

    model: type[RowT]
    # The longest useful conversation in one claim; its calls' deadlines together fit into the lease.
    max_calls: ClassVar[int] = 1
    # Columns that an answer fills while the row's claim goes on: the bank's id.
    learns: ClassVar[tuple[str, ...]] = ()

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._worker = process_name()
        self._horizon = Horizon()
        self._lease = dt.timedelta(seconds=settings.PAYMENT_LEASE_SECONDS)
        self._settle = dt.timedelta(seconds=settings.PAYMENT_SETTLE_SECONDS)

    # --- what a subclass knows --------------------------------------------------------------------

    @abstractmethod
    def _views(self, rows: Sequence[RowT]) -> dict[int, ViewT]:
        """What its policy needs, by row; everything read in sets."""

    @abstractmethod
    def _first(self, row: RowT, view: ViewT) -> Asked[RowT, StepT] | VerdictT:
        """What to do with a row that was just claimed."""

    @abstractmethod
    def _next(
        self, call: BankCall[RowT, StepT], row: RowT, view: ViewT, answer: Answer
    ) -> Asked[RowT, StepT] | VerdictT:
        """What to do after an answer; `row` is fresh, and `view` knows of the answer. What the answer alone tells (the
        bank's id) is written into the row here, and saved with it."""

    @abstractmethod
    def _resting(self, view: ViewT) -> str:
        """The status of a row that goes back without news."""

    @abstractmethod
    def _in_doubt(self, row: RowT) -> str:
        """The status of a row whose answer cannot be stored."""

    @abstractmethod
    def _moves_money(self, row: RowT, step: StepT) -> bool:
        """Whether the breaker has a say in it."""

    @abstractmethod
    def _attempts(self, asked: Sequence[Asked[RowT, StepT]]) -> list[prepared.Row]:
        """The journal's rows for these calls (PaymentAttempt), not written yet."""

    @abstractmethod
    def _fields(self, row: RowT, verdict: VerdictT) -> dict[str, Any]:
        """What a verdict writes into the row's own columns: always the same ones."""

    @abstractmethod
    def _facts(self, row: RowT, verdict: VerdictT) -> Sequence[DomainEvent]:
        """What a verdict means for others; `row` is as it was before."""

    # --- claim ------------------------------------------------------------------------------------

    def claim(self, *, limit: int) -> list[BankCall[RowT, StepT]]:
        calls: list[BankCall[RowT, StepT]] = []
        claimed = True
        while claimed and not calls:  # rows that need no call make room for those that do
            claimed, calls = self._claim(limit)
        return calls

    def _claim(self, limit: int) -> tuple[bool, list[BankCall[RowT, StepT]]]:
        with transaction.atomic():
            room = admission.room(self.model, limit=limit, horizon=self._horizon)
            rows = claims.claim(
                self.model,
                limit=room.limit,
                lease=self._lease,
                worker=self._worker,
                but=room.but,
                horizon=self._horizon,
            )
            views = self._views(rows)
            steps = [(row, self._first(row, views[row.pk])) for row in rows]
            admitted = admission.admit([step for _, step in steps if isinstance(step, Asked)], room=room)
            calls = self._open(admitted.calls)
            self._give_back(admitted.postponed, views)
            self._finish([(row, step, row.nudges) for row, step in steps if not isinstance(step, Asked)])
        return bool(rows), calls

    def _finish(self, verdicts: Sequence[tuple[RowT, VerdictT, int]]) -> None:
        """Write verdicts by token, and tell others what they mean; the number is that of the nudges that the claim has
        seen. Raises ClaimLost."""
        claims.finish([self._result(row, verdict, seen) for row, verdict, seen in verdicts])
        publish_all((fact, row.context) for row, verdict, _ in verdicts for fact in self._facts(row, verdict))
        for row, verdict, _ in verdicts:
            if verdict.blocked_reason:
                name = self.model._meta.model_name
                logger.error("action=blocked %s=%s reason=%s", name, row.pk, verdict.blocked_reason)

    def _result(self, row: RowT, verdict: VerdictT, seen: int) -> Result:
        return Result(
            row=row,
            status=verdict.status,
            seen=seen,
            due_in=verdict.due_in,
            blocked_reason=verdict.blocked_reason,
            fields=self._fields(row, verdict),
        )

    def _asked(self, row: RowT, step: StepT, *, after: BankCall[RowT, StepT] | None = None) -> Asked[RowT, StepT]:
        """The first call of a claim, or the one after another."""
        moves_money = self._moves_money(row, step)
        if after is None:
            return Asked(
                row=row,
                step=step,
                seen=row.nudges,
                was_due=row.due_at,
                begin_by=row.held_until - settings.PAYMENT_CALL_DEADLINE,
                moves_money=moves_money,
            )
        return replace(after.asked, row=row, step=step, moves_money=moves_money, number=after.asked.number + 1)

    def _go_on(self, call: BankCall[RowT, StepT], row: RowT, step: StepT) -> Asked[RowT, StepT] | None:
        """The call after this one; None where the lease allows no more: the next claim goes on there."""
        if call.asked.number >= self.max_calls or time.monotonic() > call.asked.begin_by:
            return None
        return self._asked(row, step, after=call)

    def _open(self, asked: Sequence[Asked[RowT, StepT]]) -> list[BankCall[RowT, StepT]]:
        """Journal the calls, before any of them is made."""
        if not asked:
            return []
        opened = journal.open_all(self._attempts(asked))
        return [BankCall(asked=each, attempt=attempt) for each, attempt in zip(asked, opened, strict=True)]

    def _give_back(self, postponed: Sequence[Postponed[RowT, StepT]], views: Mapping[int, ViewT]) -> None:
        """What waits for the bank is as it was before its claim, but for when it is due."""
        claims.finish(
            [
                Result(
                    row=each.asked.row,
                    status=self._resting(views[each.asked.row.pk]),
                    seen=each.asked.seen,
                    due_in=each.due_in,
                    fields={"attempts": each.asked.row.attempts - each.uncounted},
                )
                for each in postponed
            ]
        )

    # --- call -------------------------------------------------------------------------------------

    @abstractmethod
    def perform(self, call: BankCall[RowT, StepT]) -> Answer:
        """Make the call, in a pool thread and without the database."""

    def failed(self, call: BankCall[RowT, StepT], error: Exception) -> Answer:
        return Answer(outcome=Outcome.UNKNOWN, code="internal_error", message=f"{type(error).__name__}: {error}")

    # --- record -----------------------------------------------------------------------------------

    def record(self, results: Sequence[tuple[BankCall[RowT, StepT], Answer]]) -> list[BankCall[RowT, StepT]]:
        with transaction.atomic():
            held = claims.held(self.model, [call.row for call, _ in results])
            journal.close([(call.attempt.id, answer, call.row.pk not in held) for call, answer in results])
            views = self._views(list(held.values()))
            asked: list[Asked[RowT, StepT]] = []
            told: list[Told] = []
            verdicts: list[tuple[RowT, VerdictT, int]] = []
            for call, answer in results:
                known = call.asked
                row = held.get(known.row.pk)
                step = None if row is None else self._next(call, row, views[row.pk], answer)
                if isinstance(step, Asked):
                    asked.append(step)
                elif row is None or step is None:
                    self._lost(call)
                else:
                    verdicts.append((row, step, known.seen))
                ends = not isinstance(step, Asked)
                told.append(Told(answer=answer, moves_money=known.moves_money, probe=known.probe, ends=ends))
            claims.note([each.row for each in asked], *self.learns)
            self._finish(verdicts)
            admitted = admission.proceed(told, asked)
            self._give_back(admitted.postponed, views)
            return self._open(admitted.calls)

    def _lost(self, call: BankCall[RowT, StepT]) -> None:
        name = self.model._meta.model_name
        logger.warning("action=claim_lost %s=%s phase=%s", name, call.row.pk, call.attempt.phase)

    def unrecordable(self, call: BankCall[RowT, StepT], answer: Answer, error: Exception) -> None:
        """Keep what can be kept: the journal's row, and the claimed row out of the claims until a person looks."""
        with transaction.atomic():
            held = claims.held(self.model, [call.row])
            journal.close([(call.attempt.id, answer, not held)])
            reason = f"our own error while recording a {call.attempt.phase}: {error!r}"
            claims.finish(
                [
                    Result(
                        row=row,
                        status=self._in_doubt(row),
                        seen=call.asked.seen,
                        due_in=None,
                        blocked_reason=reason,
                    )
                    for row in held.values()
                ]
            )
