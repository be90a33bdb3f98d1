"""What to do next with a payment: pure functions of what is known. Workers act, this decides.

The rules, each from the bank's documentation (see docs/states.md):
- Two phases: create the intent, save its id, confirm it. An unconfirmed intent moves no money.
- In doubt: retrieve. A settled intent is recorded; otherwise the same key is sent again, while the order
  still wants the money. A key that can no longer tell (a replayed 500, or older than its safe age) gives way
  to the next generation, which is safe because one intent succeeds at most once.
- A decline is the answer to the keyed confirm, or a changed `latest_charge` whose refusal names our card. An
  intent in `requires_payment_method` proves nothing: a new one looks the same, and it keeps the last card's error.
- A declined payment is only ever read, until the customer gives another card.
"""

import datetime as dt
import enum
from dataclasses import dataclass, replace

from outbox.backoff import Backoff
from payments.gateways.base import Answer, Intent, IntentStatus, Outcome
from payments.journal import KeyUse
from payments.models import Payment

Status = Payment.Status


class Phase(enum.StrEnum):
    CREATE = "create"
    CONFIRM = "confirm"
    RETRIEVE = "retrieve"
    CANCEL = "cancel"


# Which situation, how long. None of them ends by counting: an order's money is not given up because the bank
# was away for a day; a person sees the age and may cancel.
NOT_EXECUTED = Backoff(first=dt.timedelta(seconds=1), longest=dt.timedelta(seconds=30))
IN_DOUBT = Backoff(first=dt.timedelta(seconds=1), longest=dt.timedelta(minutes=1))
UNAUTHORIZED = Backoff(first=dt.timedelta(seconds=30), longest=dt.timedelta(minutes=5))
# The customer is at the bank's page: the bank's webhook and the customer's return come first, this is the net.
WAITING = Backoff(first=dt.timedelta(seconds=15), longest=dt.timedelta(minutes=10))

# A key may be pruned at 24 h and would then execute anew; half of it is our safe age.
KEY_SAFE_AGE = dt.timedelta(hours=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A payment and its journal, as the decision needs them."""

    status: str
    intent_id: str
    create: KeyUse | None = None
    confirm: KeyUse | None = None
    latest_charge: str = ""
    payment_method: str = ""
    attempts: int = 1
    settle: dt.timedelta = dt.timedelta(seconds=30)

    @property
    def in_doubt(self) -> bool:
        """Whether this card may have been charged without our knowing."""
        return self.confirm is not None and self.confirm.doubtful


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Call the bank now. `renew` means: with the next generation of keys."""

    phase: Phase
    renew: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Give the row back. `due_in` None: not before something makes it due."""

    status: Status
    due_in: dt.timedelta | None = None
    failure_code: str = ""
    blocked_reason: str = ""
    intent: Intent | None = None


Step = Call | Verdict


def _may_renew(use: KeyUse, settle: dt.timedelta) -> bool:
    return use.age > KEY_SAFE_AGE or (use.spent and use.age > settle)


def resting(view: View) -> Status:
    """The status of a row that goes back without news: `unprocessed` only if nothing can have been charged."""
    if view.status not in (Status.PROCESSING, Status.UNPROCESSED):
        return Status(view.status)
    return Status.UNKNOWN if view.in_doubt else Status.UNPROCESSED


def _confirm(view: View) -> Step:
    """Charge, or charge again with the same key, unless the key is spent and the bank not yet settled."""
    if view.confirm is None:
        return Call(phase=Phase.CONFIRM)
    if view.confirm.age > KEY_SAFE_AGE:
        return Call(phase=Phase.CONFIRM, renew=True)
    if view.confirm.spent:
        if view.confirm.age <= view.settle:
            # The 500 would only be replayed: read again when the bank must have settled.
            return Verdict(status=Status.UNKNOWN, due_in=view.settle / 4)
        return Call(phase=Phase.CONFIRM, renew=True)
    return Call(phase=Phase.CONFIRM)


def _create(view: View) -> Step:
    return Call(phase=Phase.CREATE, renew=view.create is not None and _may_renew(view.create, view.settle))


def first_step(view: View) -> Step:
    """What to do with a row that was just claimed."""
    if view.status == Status.CANCELING:
        if view.intent_id:
            return Call(phase=Phase.CANCEL)
        if view.create is None or not (view.create.doubtful or view.create.spent):
            return Verdict(status=Status.CANCELED)  # no intent was ever made
        if _may_renew(view.create, view.settle):
            return Verdict(status=Status.CANCELED)  # at most an unconfirmed intent, which moves no money
        return Call(phase=Phase.CREATE)  # the same key tells the intent's id, so that it can be canceled
    if view.status in (Status.REQUIRES_ACTION, Status.DECLINED):
        return Call(phase=Phase.RETRIEVE)
    if not view.intent_id:
        return _create(view)
    if view.confirm is None and view.create is not None:
        return Call(phase=Phase.CONFIRM)
    # Tried before, or an intent of which our journal knows nothing (an older backup was restored): read it first.
    return Call(phase=Phase.RETRIEVE)


def next_step(view: View, phase: Phase, answer: Answer) -> Step:
    """What to do after an answer. `view` is fresh: the row under its lock, and a journal that already holds
    this answer."""
    return _unless_canceling(view, _unless_declined(view, _after(view, phase, answer)))


def _after(view: View, phase: Phase, answer: Answer) -> Step:
    match answer.outcome:
        case Outcome.ANSWERED if answer.intent is not None:
            return _read(view, phase, answer.intent)
        case Outcome.DECLINED | Outcome.CARD_UNUSABLE if phase is Phase.CONFIRM:
            return Verdict(status=Status.DECLINED, failure_code=answer.reason or "declined", intent=answer.intent)
        case Outcome.UNKNOWN:
            status = Status.UNKNOWN if phase in (Phase.CREATE, Phase.CONFIRM) else resting(view)
            return Verdict(status=status, due_in=IN_DOUBT.delay(attempts=view.attempts))
        case Outcome.NOT_EXECUTED:
            delay = max(answer.retry_after or dt.timedelta(0), NOT_EXECUTED.delay(attempts=view.attempts))
            return Verdict(status=resting(view), due_in=delay)
        case Outcome.UNAUTHORIZED:
            return Verdict(status=resting(view), due_in=UNAUTHORIZED.delay(attempts=view.attempts))
    said = f"{answer.outcome}, {answer.code or answer.http_status}: {answer.message}"
    return Verdict(status=resting(view), blocked_reason=f"{phase}: the bank refused our request ({said})")


def _read(view: View, phase: Phase, intent: Intent) -> Step:
    """The bank has shown the intent: by creating, confirming, reading or canceling it."""
    match intent.status:
        case IntentStatus.SUCCEEDED:
            return Verdict(status=Status.SUCCEEDED, intent=intent)
        case IntentStatus.CANCELED if view.status == Status.CANCELING:
            return Verdict(status=Status.CANCELED, intent=intent)
        case IntentStatus.CANCELED:  # nobody here asked for it: the bank ended it by itself, or somebody there
            return Verdict(status=Status.FAILED, failure_code="canceled_at_the_bank", intent=intent)
        case IntentStatus.PROCESSING:
            return Verdict(status=Status.UNKNOWN, due_in=IN_DOUBT.delay(attempts=view.attempts), intent=intent)
        case IntentStatus.REQUIRES_ACTION:
            if view.status == Status.CANCELING:
                return _cancel(view, phase)
            due_in = WAITING.delay(attempts=view.attempts)
            return Verdict(status=Status.REQUIRES_ACTION, due_in=due_in, intent=intent)
        case IntentStatus.REQUIRES_PAYMENT_METHOD | IntentStatus.REQUIRES_CONFIRMATION:
            return _unsettled(view, phase, intent)
    return Verdict(
        status=resting(view),
        blocked_reason=f"the intent is {intent.status}, which this store never asks for",
    )


def _cancel(view: View, phase: Phase) -> Step:
    if phase is Phase.CANCEL:  # asked, and refused for a state that may pass
        return Verdict(status=Status.CANCELING, due_in=IN_DOUBT.delay(attempts=view.attempts))
    return Call(phase=Phase.CANCEL)


def _unsettled(view: View, phase: Phase, intent: Intent) -> Step:
    if view.status == Status.CANCELING:
        return _cancel(view, phase)
    if view.status == Status.DECLINED:
        return Verdict(status=Status.DECLINED)  # nothing new: only another card leads to another try
    declined = Verdict(status=Status.DECLINED, failure_code=intent.error_code or "declined", intent=intent)
    if phase is Phase.CONFIRM or view.status == Status.REQUIRES_ACTION:
        return declined  # the answer to this card's confirm, at once or after the customer's visit to the bank
    ours = intent.error_payment_method == view.payment_method
    if ours and intent.latest_charge and intent.latest_charge != view.latest_charge:
        return declined
    return _confirm(view)


def _unless_declined(view: View, step: Step) -> Step:
    """A declined payment waits for another card. Reading it finds out that it has ended (an older backup was restored,
    a person acted at the bank); what may still become of it there leaves it declined, and to be read again."""
    if isinstance(step, Call) or view.status != Status.DECLINED or step.status in Payment.FINAL:
        return step
    return replace(step, status=Status.DECLINED, failure_code="", intent=None)


def _unless_canceling(view: View, step: Step) -> Step:
    """While the payment is asked to end, only an end counts: everything else leaves it asked, and due."""
    if isinstance(step, Call) or view.status != Status.CANCELING:
        return step
    if step.status in (Status.SUCCEEDED, Status.CANCELED):
        return step
    due_in = dt.timedelta(0) if step.due_in is None and not step.blocked_reason else step.due_in
    return replace(step, status=Status.CANCELING, due_in=due_in, failure_code="")
