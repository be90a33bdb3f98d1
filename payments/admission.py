"""Which calls may be made now: for a whole batch at once, when rows are claimed and when further calls follow.

What may not be asked now goes back without having been tried.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from outbox import claims
from outbox.claims import Claimable
from outbox.horizon import Horizon
from payments import breaker, limiter
from payments.breaker import Position, Told

RowT = TypeVar("RowT", bound=Claimable)
StepT = TypeVar("StepT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked(Generic[RowT, StepT]):
    """A call that a claimed row wants to be made: `number` counts the calls of its claim, `seen` its nudges when it
    was claimed, `was_due` is when that was due. Begun by `begin_by` (monotonic), it ends before its claim does.
    `probe`: the breaker's own attempt to find out."""

    row: RowT
    step: StepT
    seen: int
    was_due: dt.datetime | None
    begin_by: float
    moves_money: bool
    number: int = 1
    probe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Postponed(Generic[RowT, StepT]):
    """It goes back, to be claimed again in `due_in`; a time: as it was due before, in front of all that came later."""

    asked: Asked[RowT, StepT]
    due_in: dt.timedelta | dt.datetime | None

    @property
    def uncounted(self) -> int:
        """A claim that led to no call at all is not counted as a try."""
        return int(self.asked.number == 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted(Generic[RowT, StepT]):
    calls: tuple[Asked[RowT, StepT], ...] = ()
    postponed: tuple[Postponed[RowT, StepT], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many rows may be claimed, and of which statuses none; their tokens are taken."""

    limit: int
    but: frozenset[str]
    position: Position


def room(model: type[Claimable], *, limit: int, horizon: Horizon) -> Room:
    """Before a claim. While the breaker is open, rows whose next call is a charge or refund for sure stay unclaimed,
    however many they are; when its pause is over, one row is claimed at a time until one is the probe."""
    position = breaker.read()
    but: frozenset[str] = frozenset()
    if position.may_probe:
        limit = 1
    elif not position.flows:
        but = frozenset(model.CLAIMED_STATUS)
    if limiter.is_on():
        limit = limiter.take(claims.due(model, limit=limit, but=but, horizon=horizon))
    return Room(limit=limit, but=but, position=position)


def admit(asked: Sequence[Asked[RowT, StepT]], *, room: Room) -> Admitted[RowT, StepT]:
    """Of the first calls of a claim, those that the breaker lets through; tokens that are left go back."""
    admitted = _let_through(asked, room.position)
    limiter.give_back(room.limit - len(admitted.calls))
    return admitted


def _let_through(asked: Sequence[Asked[RowT, StepT]], position: Position) -> Admitted[RowT, StepT]:
    if position.flows:
        return Admitted(calls=tuple(asked))
    calls, postponed = [], []
    for each in asked:
        if not each.moves_money or each.probe:
            calls.append(each)
        elif breaker.take_probe(position):
            position = replace(position, retry_at=None)
            calls.append(replace(each, probe=True))
        else:
            postponed.append(Postponed(asked=each, due_in=position.wait))
    return Admitted(calls=tuple(calls), postponed=tuple(postponed))


def proceed(told: Sequence[Told], asked: Sequence[Asked[RowT, StepT]]) -> Admitted[RowT, StepT]:
    """After a batch of answers: learn from them, then admit the calls that follow, as far as there are tokens."""
    limiter.note(each.answer for each in told)
    tokens = limiter.take(len(asked))
    breaker.judge(told)
    held_back = any(each.moves_money and not each.probe for each in asked)
    admitted = _let_through(asked, breaker.read() if held_back else Position())
    limiter.give_back(tokens - len(admitted.calls))
    late = tuple(Postponed(asked=each, due_in=each.was_due) for each in admitted.calls[tokens:])
    return Admitted(calls=admitted.calls[:tokens], postponed=(*admitted.postponed, *late))
