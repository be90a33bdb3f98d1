"""What to do next with a dispute: pure, like `policy`. The store only reads them; people answer them at the bank."""

import datetime as dt
from dataclasses import dataclass

from outbox.backoff import Backoff
from payments.gateways.base import Answer, BankDispute, Outcome
from payments.models import Dispute
from payments.policy import IN_DOUBT, NOT_EXECUTED, UNAUTHORIZED

Status = Dispute.Status

# What the bank calls a dispute that has ended (docs.stripe.com/disputes/how-disputes-work). All other words leave it
# open: an appeal may follow on a loss before we read it, and a new word must not send goods.
ENDED = frozenset({"won", "lost", "warning_closed"})

# The customer's bank takes weeks; its webhook comes first, this is the net.
WATCH = Backoff(first=dt.timedelta(hours=1), longest=dt.timedelta(days=1))
# The money's own fact comes first in the order's story: the payment is being read at this moment.
AFTER_PAYMENT = Backoff(first=dt.timedelta(milliseconds=500), longest=dt.timedelta(minutes=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A dispute, and whether the payment it is about has ended here."""

    status: str
    attempts: int
    payment_settled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Give the row back. `shown` is what the bank says of it, where it has said something."""

    status: Status
    due_in: dt.timedelta | None = None
    blocked_reason: str = ""
    shown: BankDispute | None = None


def first_step(view: View) -> Verdict | None:
    """None: read it. A dispute about a payment that we do not yet know to be charged waits for that."""
    if view.payment_settled:
        return None
    return Verdict(status=Status(view.status), due_in=AFTER_PAYMENT.delay(attempts=view.attempts))


def next_step(view: View, answer: Answer) -> Verdict:
    """What to do after the bank's answer; `view` is fresh."""
    same = Status(view.status)
    match answer.outcome:
        case Outcome.ANSWERED if answer.dispute is not None:
            if answer.dispute.status in ENDED:
                return Verdict(status=Status.CLOSED, shown=answer.dispute)
            return Verdict(status=Status.OPEN, due_in=WATCH.delay(attempts=view.attempts), shown=answer.dispute)
        case Outcome.UNKNOWN:
            return Verdict(status=same, due_in=IN_DOUBT.delay(attempts=view.attempts))
        case Outcome.NOT_EXECUTED:
            delay = max(answer.retry_after or dt.timedelta(0), NOT_EXECUTED.delay(attempts=view.attempts))
            return Verdict(status=same, due_in=delay)
        case Outcome.UNAUTHORIZED:
            return Verdict(status=same, due_in=UNAUTHORIZED.delay(attempts=view.attempts))
    said = f"{answer.outcome}, {answer.code or answer.http_status}: {answer.message}"
    return Verdict(status=same, blocked_reason=f"the bank does not show this dispute ({said})")
