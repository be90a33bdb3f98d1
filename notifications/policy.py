"""What becomes of a mail after a call: pure functions of what is known. The worker acts, this decides.

The provider has no idempotency key, so one rule stands above all: a mail that may have been sent is never sent
again on a guess (docs/decisions/0004-mail-is-never-sent-twice-on-a-guess.md).
"""

import datetime as dt
from dataclasses import dataclass

from notifications.models import Message, MessageAttempt
from outbox.backoff import Backoff

Status = Message.Status
Outcome = MessageAttempt.Outcome

# With RETRY's longest delay this is about a day: an outage of the provider heals by itself, and a mail that
# comes later than that is for a person to judge.
MAX_TRIES = 130
RETRY = Backoff(first=dt.timedelta(seconds=1), longest=dt.timedelta(minutes=15))
# Somebody has to change a setting: it is tried often enough to go on soon after that.
MISCONFIGURED = Backoff(first=dt.timedelta(seconds=30), longest=dt.timedelta(minutes=5))
# The provider repeats the events that prove a sending for a day; what it has not said by then it will not say.
EVIDENCE_WITHIN = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The message's next status; `due_in` None means not before something makes it due."""

    status: Status
    due_in: dt.timedelta | None = None
    blocked_reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """An ambiguous message as the decision needs it: for how long, and what the journal and the provider know.

    `last_outcome` is empty while the last call has not been answered; `calls` is how many were made; `heard_of`: the
    provider has told us what became of it, so it has accepted it.
    """

    age: dt.timedelta
    calls: int
    last_outcome: str
    rather_twice: bool
    attempts: int
    heard_of: bool = False


def after_call(outcome: str, *, attempts: int, retry_after: dt.timedelta | None = None) -> Verdict:
    """`attempts` counts the message's claims with this one, those apart whose call was MISCONFIGURED."""
    match outcome:
        case Outcome.ACCEPTED:
            return Verdict(status=Status.SENT)
        case Outcome.REFUSED:
            return Verdict(status=Status.FAILED)
        case Outcome.NOT_SENT if attempts >= MAX_TRIES:
            return Verdict(status=Status.FAILED)
        case Outcome.NOT_SENT:
            delay = max(retry_after or dt.timedelta(0), RETRY.delay(attempts=attempts))
            return Verdict(status=Status.PENDING, due_in=delay)
        case Outcome.MISCONFIGURED:
            return Verdict(status=Status.PENDING, due_in=MISCONFIGURED.delay(attempts=attempts))
    return Verdict(status=Status.AMBIGUOUS, due_in=EVIDENCE_WITHIN)


def in_doubt(doubt: Doubt) -> Verdict:
    """The provider's webhook is evidence, and so is a late answer in the journal. Without any, a day later a person
    decides, unless its template would rather be sent twice than never: then it is sent once more."""
    if doubt.heard_of:
        return Verdict(status=Status.SENT)
    if doubt.last_outcome not in ("", Outcome.AMBIGUOUS):
        return after_call(doubt.last_outcome, attempts=doubt.attempts)
    if doubt.age < EVIDENCE_WITHIN:
        return Verdict(status=Status.AMBIGUOUS, due_in=EVIDENCE_WITHIN - doubt.age)
    if doubt.rather_twice and doubt.calls < 2:
        return Verdict(status=Status.PENDING, due_in=dt.timedelta(0))
    return Verdict(
        status=Status.AMBIGUOUS,
        blocked_reason="It may or may not have been sent, and the provider has said nothing for a day: "
        "look it up there, then confirm or resend it.",
    )
