"""What may be done with any claimed row: hurry it, look again, clear its block."""

import uuid
from collections.abc import Callable
from typing import Any, TypeVar

from outbox import claims, decisions
from outbox.claims import Claimable
from outbox.operating import Operation

RowT = TypeVar("RowT", bound=Claimable)


def state(row: Claimable) -> str:
    """How a claimed row stands, in few words."""
    blocked = f", blocked: {row.blocked_reason}" if row.blocked_reason else ""
    return f"{row.status}{blocked}"


def claim_operations(
    permission: str, *, story: Callable[[RowT], object], asks: str
) -> tuple["Operation[RowT]", "Operation[RowT]", "Operation[RowT]"]:
    """The three operations for one model; `asks` names who is asked, such as "the bank"."""

    class _Claim(Operation[RowT]):
        def _record(self, row: RowT, *, actor: str, reason: str, after: str) -> None:
            decisions.record(
                kind=self.name, about=row, story=story(row), actor=actor, reason=reason, before=state(row), after=after
            )

    class Retry(_Claim):
        """The next try is made now instead of at its time."""

        name, label = "retry", "Try again now"

        def refusal(self, row: RowT, *, actor: str) -> str:
            if row.blocked_reason:
                return "It is blocked: clear the block first."
            if row.token is not None:
                return f"{row.claimed_by} is working on it."
            if row.due_at is None:
                return f"It is {row.status}: no try is to come."
            return ""

        def perform(self, row: RowT, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
            self._record(row, actor=actor, reason=values["reason"], after="due now")
            claims.hurry(type(row)._default_manager.filter(pk=row.pk))
            return "A worker takes it next."

    class Check(_Claim):
        name, label = "check", f"Ask {asks} again"

        def refusal(self, row: RowT, *, actor: str) -> str:
            if row.blocked_reason:
                return "It is blocked: clear the block first."
            return "" if row.status in row.NUDGED else f"It is {row.status}: there is nothing to ask."

        def perform(self, row: RowT, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
            self._record(row, actor=actor, reason=values["reason"], after="to be read again")
            claims.nudge(type(row)._default_manager.filter(pk=row.pk))
            return f"A worker asks {asks} next."

    Check.__doc__ = f"A worker reads at {asks} how this stands. Nothing else is sent, and nothing is changed there."

    class Unblock(_Claim):
        """The reason for the block has been dealt with: workers may take it again."""

        name, label = "unblock", "Clear the block"

        def refusal(self, row: RowT, *, actor: str) -> str:
            return "" if row.blocked_reason else "It is not blocked."

        def perform(self, row: RowT, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
            self._record(row, actor=actor, reason=values["reason"], after="due now")
            claims.unblock(type(row)._default_manager.filter(pk=row.pk))
            return "The block is cleared, and a worker takes it next."

    for each in (Retry, Check, Unblock):
        each.permission = permission
    return Retry(), Check(), Unblock()
