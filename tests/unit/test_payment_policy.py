"""The payment policy: given what is known, what comes next."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.backoff import Backoff
from payments.gateways.base import Answer, Intent, IntentStatus, Outcome
from payments.journal import KeyUse
from payments.models import Payment
from payments.policy import Call, Phase, Verdict, View, first_step, next_step

Status = Payment.Status
MINUTE, HOUR = dt.timedelta(minutes=1), dt.timedelta(hours=1)
DOUBT = KeyUse(age=MINUTE, doubtful=True)

fresh = View(status=Status.PROCESSING, intent_id="")
created = View(status=Status.PROCESSING, intent_id="pi_1", create=KeyUse(age=MINUTE))
doubtful = View(status=Status.UNKNOWN, intent_id="pi_1", confirm=DOUBT, payment_method="pm_b")
canceling = View(status=Status.CANCELING, intent_id="pi_1")
declined = View(status=Status.DECLINED, intent_id="pi_1", create=KeyUse(age=MINUTE), latest_charge="ch_a")


def intent(status: str, **known: Any) -> Intent:
    return Intent(id="pi_1", status=status, amount=100, currency="EUR", **known)


def answered(status: str, **known: str) -> Answer:
    return Answer(outcome=Outcome.ANSWERED, intent=intent(status, **known))


@pytest.mark.parametrize(
    ("view", "step"),
    [
        (fresh, Call(phase=Phase.CREATE)),
        (replace(fresh, create=DOUBT), Call(phase=Phase.CREATE)),
        (replace(fresh, create=KeyUse(age=13 * HOUR, doubtful=True)), Call(phase=Phase.CREATE, renew=True)),
        (replace(fresh, create=KeyUse(age=MINUTE, doubtful=True, spent=True)), Call(phase=Phase.CREATE, renew=True)),
        (created, Call(phase=Phase.CONFIRM)),
        (replace(created, create=None), Call(phase=Phase.RETRIEVE)),  # not known to our journal
        (replace(created, confirm=DOUBT), Call(phase=Phase.RETRIEVE)),
        (doubtful, Call(phase=Phase.RETRIEVE)),
        (replace(created, status=Status.REQUIRES_ACTION), Call(phase=Phase.RETRIEVE)),
        (declined, Call(phase=Phase.RETRIEVE)),
        (canceling, Call(phase=Phase.CANCEL)),
        (View(status=Status.CANCELING, intent_id=""), Verdict(status=Status.CANCELED)),
        (View(status=Status.CANCELING, intent_id="", create=DOUBT), Call(phase=Phase.CREATE)),
        (
            View(status=Status.CANCELING, intent_id="", create=KeyUse(age=13 * HOUR, doubtful=True)),
            Verdict(status=Status.CANCELED),
        ),
    ],
)
def test_first_step(view: View, step: object) -> None:
    assert first_step(view) == step


@pytest.mark.parametrize(
    ("shown", "status"),
    [
        (answered("succeeded"), Status.SUCCEEDED),
        (answered("canceled"), Status.FAILED),
        (answered("requires_payment_method", latest_charge="ch_b", error_code="card_declined"), Status.DECLINED),
        (answered("requires_confirmation"), Status.DECLINED),
        (answered("requires_action"), Status.DECLINED),
        (answered("processing"), Status.DECLINED),
        (answered("requires_capture"), Status.DECLINED),
        (Answer(outcome=Outcome.UNKNOWN), Status.DECLINED),
        (Answer(outcome=Outcome.REFUSED), Status.DECLINED),
    ],
)
def test_a_declined_payment_is_only_read(shown: Answer, status: Status) -> None:
    step = next_step(declined, Phase.RETRIEVE, shown)
    assert isinstance(step, Verdict), "never charged without another card"
    assert step.status == status
    assert not (step.status == Status.DECLINED and step.failure_code), "nothing is told a second time"


def test_created_is_confirmed() -> None:
    assert next_step(fresh, Phase.CREATE, answered("requires_payment_method")) == Call(phase=Phase.CONFIRM)


def test_an_unsettled_intent_is_confirmed_with_the_same_key() -> None:
    assert next_step(doubtful, Phase.RETRIEVE, answered("requires_payment_method")) == Call(phase=Phase.CONFIRM)


def test_a_spent_key_waits_for_the_bank_to_settle_then_gives_way() -> None:
    spent = replace(doubtful, confirm=KeyUse(age=dt.timedelta(seconds=3), doubtful=True, spent=True))
    early = next_step(spent, Phase.RETRIEVE, answered("requires_payment_method"))
    assert isinstance(early, Verdict)
    assert early.status == Status.UNKNOWN
    late = replace(spent, confirm=KeyUse(age=MINUTE, doubtful=True, spent=True))
    step = next_step(late, Phase.RETRIEVE, answered("requires_payment_method"))
    assert step == Call(phase=Phase.CONFIRM, renew=True)


def test_the_last_cards_error_is_no_decline_of_this_one() -> None:
    leftover = answered(
        "requires_payment_method", latest_charge="ch_a", error_code="card_declined", error_payment_method="pm_a"
    )
    assert next_step(replace(doubtful, latest_charge="ch_a"), Phase.RETRIEVE, leftover) == Call(phase=Phase.CONFIRM)
    assert next_step(doubtful, Phase.RETRIEVE, leftover) == Call(phase=Phase.CONFIRM)


def test_a_changed_charge_that_names_our_card_is_a_decline() -> None:
    found = answered(
        "requires_payment_method", latest_charge="ch_b", error_code="card_declined", error_payment_method="pm_b"
    )
    step = next_step(replace(doubtful, latest_charge="ch_a"), Phase.RETRIEVE, found)
    assert isinstance(step, Verdict)
    assert (step.status, step.failure_code) == (Status.DECLINED, "card_declined")


def test_walking_away_from_the_bank_page_is_a_decline() -> None:
    waiting = replace(created, status=Status.REQUIRES_ACTION)
    step = next_step(waiting, Phase.RETRIEVE, answered("requires_payment_method", error_code="authentication_failed"))
    assert isinstance(step, Verdict)
    assert (step.status, step.failure_code) == (Status.DECLINED, "authentication_failed")


def test_success_is_success_even_while_canceling() -> None:
    for phase in (Phase.CONFIRM, Phase.RETRIEVE, Phase.CANCEL):
        step = next_step(canceling, phase, answered("succeeded"))
        assert isinstance(step, Verdict)
        assert step.status == Status.SUCCEEDED


def test_a_decline_while_canceling_leaves_it_asked_and_due() -> None:
    step = next_step(canceling, Phase.CONFIRM, Answer(outcome=Outcome.DECLINED, code="card_declined"))
    assert isinstance(step, Verdict)
    assert (step.status, step.due_in) == (Status.CANCELING, dt.timedelta(0))


def test_retry_after_is_honoured() -> None:
    limited = Answer(outcome=Outcome.NOT_EXECUTED, retry_after=dt.timedelta(seconds=77))
    step = next_step(created, Phase.CONFIRM, limited)
    assert isinstance(step, Verdict)
    assert (step.status, step.due_in) == (Status.UNPROCESSED, dt.timedelta(seconds=77))


def test_not_executed_in_doubt_stays_in_doubt() -> None:
    """409: the key's first call is still under way."""
    step = next_step(doubtful, Phase.CONFIRM, Answer(outcome=Outcome.NOT_EXECUTED, http_status=409))
    assert isinstance(step, Verdict)
    assert step.status == Status.UNKNOWN


uses = st.none() | st.builds(
    KeyUse,
    age=st.timedeltas(min_value=dt.timedelta(0), max_value=2 * 24 * HOUR),
    doubtful=st.booleans(),
    spent=st.booleans(),
)
views = st.builds(
    View,
    status=st.sampled_from([Status.PROCESSING, Status.UNKNOWN, Status.REQUIRES_ACTION, Status.CANCELING]),
    intent_id=st.just("pi_1"),
    create=uses,
    confirm=uses,
    attempts=st.integers(1, 10_000),
)
answers = st.builds(
    Answer,
    outcome=st.sampled_from(Outcome),
    intent=st.none() | st.builds(intent, st.sampled_from(IntentStatus)),
    http_status=st.none() | st.sampled_from([200, 400, 402, 404, 409, 429, 500]),
)


@given(view=views, phase=st.sampled_from(Phase), answer=answers)
def test_whatever_happens_the_step_is_safe(view: View, phase: Phase, answer: Answer) -> None:
    step = next_step(view, phase, answer)
    if isinstance(step, Call):
        # Only an intent that the bank itself has just shown as unsettled is confirmed; never while canceling.
        assert answer.outcome is Outcome.ANSWERED
        assert answer.intent is not None
        if step.phase is Phase.CONFIRM:
            assert answer.intent.status in (IntentStatus.REQUIRES_PAYMENT_METHOD, IntentStatus.REQUIRES_CONFIRMATION)
            assert view.status in (Status.PROCESSING, Status.UNKNOWN)
        if step.renew:
            assert view.confirm is not None
            assert view.confirm.spent or view.confirm.age > 12 * HOUR
        return
    if step.status in (Status.SUCCEEDED, Status.CANCELED, Status.FAILED):
        assert answer.intent is not None
        assert answer.intent.status == ("succeeded" if step.status == Status.SUCCEEDED else "canceled")
        assert (step.status == Status.CANCELED) == (step.status != Status.SUCCEEDED and view.status == Status.CANCELING)
    else:
        # A row that is not settled is due, waits for the customer, or waits for a person: never forgotten.
        assert step.due_in is not None or step.blocked_reason or step.status == Status.DECLINED
        if view.status == Status.CANCELING:
            assert step.status == Status.CANCELING


@given(attempts=st.integers(0, 10**9))
def test_delays_stay_within_their_bounds(attempts: int) -> None:
    delay = Backoff(first=dt.timedelta(seconds=1), longest=MINUTE).delay(attempts=attempts)
    assert dt.timedelta(0) < delay <= MINUTE
