"""What to do next with a refund: pure, like `policy`.

A refund has one key for ever, its own uuid: two equal partial refunds would both succeed at the bank, so no
second key may ever be tried. In doubt the same key is sent again while it is surely still known; after that
our id is looked for among the bank's refunds, and one that is not there waits for a person.
"""

import datetime as dt
import enum
from dataclasses import dataclass

from outbox.backoff import Backoff
from payments.gateways.base import Answer, BankRefund, Outcome
from payments.journal import KeyUse
from payments.models import Refund
from payments.policy import IN_DOUBT, KEY_SAFE_AGE, NOT_EXECUTED, UNAUTHORIZED

Status = Refund.Status

# The bank's own networks take hours to days; its webhook comes first, this is the net.
PENDING = Backoff(first=dt.timedelta(seconds=15), longest=dt.timedelta(hours=1))


class Phase(enum.StrEnum):
    """As the journal calls them."""

    REFUND = "refund"
    READ = "refund_read"
    FIND = "refund_find"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A refund and what the journal says of its key."""

    status: str
    refund_id: str
    use: KeyUse | None
    attempts: int
    settle: dt.timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Give the row back. `due_in` None: not before something makes it due."""

    status: Status
    due_in: dt.timedelta | None = None
    failure_code: str = ""
    blocked_reason: str = ""


Step = Phase | Verdict


def first_step(view: View) -> Phase:
    """What to do with a row that was just claimed: always a call."""
    if view.refund_id:
        return Phase.READ
    if view.use is None:
        return Phase.REFUND
    told = view.use.spent and view.use.age > view.settle  # the key only replays its 500
    return Phase.FIND if told or view.use.age > KEY_SAFE_AGE else Phase.REFUND


def resting(view: View) -> Status:
    """The status of a row that goes back without news: `unprocessed` only if nothing can have been sent."""
    if view.use is not None and view.use.doubtful and not view.refund_id:
        return Status.UNKNOWN
    return Status.UNPROCESSED if view.status == Status.PROCESSING else Status(view.status)


def next_step(view: View, phase: Phase, answer: Answer) -> Step:
    """What to do after an answer; `view` is fresh and its journal holds this answer."""
    rest = resting(view)
    match answer.outcome:
        case Outcome.ANSWERED if answer.refund is not None:
            return _read(view, answer.refund)
        case Outcome.ANSWERED:
            reason = f"the bank has no refund with our id, and its key is too old to be sent again: {answer.message}"
            return Verdict(status=Status.UNKNOWN, blocked_reason=reason)
        case Outcome.UNKNOWN:
            status = Status.UNKNOWN if phase is Phase.REFUND else rest
            return Verdict(status=status, due_in=IN_DOUBT.delay(attempts=view.attempts))
        case Outcome.NOT_EXECUTED:
            delay = max(answer.retry_after or dt.timedelta(0), NOT_EXECUTED.delay(attempts=view.attempts))
            return Verdict(status=rest, due_in=delay)
        case Outcome.UNAUTHORIZED:
            return Verdict(status=rest, due_in=UNAUTHORIZED.delay(attempts=view.attempts))
        case Outcome.REFUSED if phase is Phase.REFUND and view.use is None:
            # Definite, and nothing of ours was ever executed: such as charge_already_refunded, charge_disputed.
            return Verdict(status=Status.FAILED, failure_code=answer.code or "refused")
        case Outcome.REFUSED if phase is Phase.REFUND:
            return Phase.FIND  # refused now, perhaps because our own earlier call was executed
    reason = f"{phase}: the bank refused our request ({answer.outcome}, {answer.code}): {answer.message}"
    return Verdict(status=rest, blocked_reason=reason)


def _read(view: View, refund: BankRefund) -> Verdict:
    match refund.status:
        case "succeeded":
            return Verdict(status=Status.SUCCEEDED)
        case "failed" | "canceled":
            return Verdict(status=Status.FAILED, failure_code=refund.failure_code or refund.status)
    return Verdict(status=Status.PENDING, due_in=PENDING.delay(attempts=view.attempts))
