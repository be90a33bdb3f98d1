"""The books, where a person was asked about what differs or has decided it: listed, and no failure."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from notifications.models import Message
from outbox.models import Decision
from payments.models import Difference
from shop.models import Concern
from tests.integration.settled_store import Json, Store, check, execute, found


def excused(answer: Json) -> set[tuple[str, str, str]]:
    return {
        (each["invariant"], difference["what"], difference["order"])
        for each in answer["checks"]
        for difference in each["excused"]
    }


def because(answer: Json) -> set[str]:
    return {difference["because"] for each in answer["checks"] for difference in each["excused"]}


def ask_about(kind: str, about: str, **known: Any) -> None:
    """As reconciliation does, and what became of it."""
    fields = {"amount": 1, "currency": "EUR", "detail": "…", "happened_at": LONG_AGO}
    Difference.objects.create(kind=kind, about=about, **fields, **known)


LONG_AGO = "2026-01-01T00:00:00Z"
MACHINES = {"resolved_by": "system:reconciliation", "resolution": "the same again", "resolved_at": LONG_AGO}
CANCELLED = "UPDATE shop_order SET status = 'cancelled' WHERE id = {paid}"
PERSONS = {"resolved_by": "operator:olga", "resolution": "by bank transfer", "resolved_at": LONG_AGO}
# Kind, what breaks the books (SQL), all that differs then.
ASKED: dict[str, tuple[str, set[tuple[str, str]]]] = {
    "charged_not_paid": (
        "UPDATE payments_payment SET status = 'canceled' WHERE order_id = {paid}; "
        "UPDATE shop_order SET status = 'cancelled' WHERE id = {paid}",
        {
            ("S3", "the intents of a payment that ended without money"),
            ("Q1", "the payment of a charge"),
            ("Q2", "the net of an ended order"),
        },
    ),
    "unknown_payment": (
        "DELETE FROM payments_paymentattempt WHERE payment_id IN ("
        "SELECT id FROM payments_payment WHERE order_id = {paid});"
        "DELETE FROM payments_payment WHERE order_id = {paid}",
        {("S1", "a charge's payment"), ("Q1", "the journal of an intent")},
    ),
    "intent_differs": (
        "UPDATE payments_payment SET amount = amount - 1 WHERE order_id = {paid}",
        {("S1", "an intent's amount")},
    ),
}


@pytest.mark.parametrize("kind", ASKED)
def test_what_a_person_was_asked_about_is_listed(books: Store, kind: str) -> None:
    statement, expected = ASKED[kind]
    execute(statement.format(**vars(books)))
    about = books.intent(books.paid)["id"]
    what = {(invariant, what, str(books.paid)) for invariant, what in expected}
    asked_for = ["--invariant", "S1", "S3", "Q1", "Q2"]

    def checked() -> tuple[bool, bool]:
        """Whether all of it differs, and whether all of it is excused; it is never both, and never gone."""
        answer = check(*asked_for)[1]
        assert found(answer) | excused(answer) >= what
        assert not found(answer) & excused(answer)
        return found(answer) >= what, excused(answer) >= what

    assert checked() == (True, False)
    ask_about(kind, "pi_another")
    ask_about("refund_differs", about)
    ask_about(kind, about, healing=True)
    assert checked() == (True, False), "nobody was asked about this"
    execute("DELETE FROM payments_difference")
    ask_about(kind, about, **MACHINES)
    assert checked() == (True, False), "what was healed excuses nothing"
    ask_about(kind, about, owner="operator:omar")
    assert checked() == (False, True)
    (why,) = because(check(*asked_for)[1])
    assert why.startswith(f"{kind} has waited for a person for 00:00:")
    assert why.endswith("looked after by operator:omar")
    execute("DELETE FROM payments_difference")
    ask_about(kind, about, **PERSONS)
    assert checked() == (False, True)
    assert because(check(*asked_for)[1]) == {f"{kind}: operator:olga has resolved it: by bank transfer"}


def test_only_asked_about_is_no_failure(books: Store, other_world: Callable[..., None]) -> None:
    intent = books.intent(books.paid)
    other_world(intent | {"id": "pi_second"})
    assert ("S1", "succeeded intents of an order", str(books.paid)) in found(check("--live")[1])
    ask_about("two_intents", "pi_second")
    status, answer = check()
    assert (status, found(answer)) == (0, set())
    assert ("S1", "succeeded intents of an order", str(books.paid)) in excused(answer)
    assert any("wait for a person (two_intents)" in text for each in answer["checks"] for text in each["remarks"])


def test_a_third_intent_is_not_excused_by_the_second(books: Store, other_world: Callable[..., None]) -> None:
    intent = books.intent(books.paid)
    other_world(intent | {"id": "pi_second"}, intent | {"id": "pi_third"})
    ask_about("two_intents", "pi_second")
    assert ("S1", "succeeded intents of an order", str(books.paid)) in found(check("--live")[1])


def test_paid_here_and_a_person_was_asked(books: Store, other_world: Callable[..., None]) -> None:
    intent = books.intent(books.paid)
    other_world(intent | {"status": "canceled", "amount_received": 0})
    ask_about("paid_not_charged", intent["id"])
    status, answer = check("--live")
    assert status == 0
    assert excused(answer) == {("S1", "a paid payment's intent", str(books.paid))}


def test_a_refund_made_by_hand_and_a_person_was_asked(books: Store, other_world: Callable[..., None]) -> None:
    charge = books.charge(books.paid)
    refund = {
        "id": "re_by_hand",
        "object": "refund",
        "created": charge["created"],
        "status": "succeeded",
        "payment_intent": charge["payment_intent"],
        "charge": charge["id"],
        "metadata": {},
        "amount": 100,
        "currency": "eur",
    }
    failed = refund | {"id": "re_that_failed", "status": "failed"}
    other_world(refund, failed, charge | {"amount_refunded": 100})
    assert found(check()[1]) == {("Q2", "a refund at the bank", str(books.paid))}
    ask_about("refund_without_row", "re_by_hand", **PERSONS)
    status, answer = check()
    assert (status, excused(answer)) == (0, {("Q2", "a refund at the bank", str(books.paid))})


def test_what_was_paid_back_of_a_lost_order(books: Store, other_world: Callable[..., None]) -> None:
    """In the bank's dashboard, as there is nothing here to do it from."""
    stranger = books.intent(books.paid) | {"id": "pi_lost", "metadata": {"order_id": str(books.shipped)}}
    refund = {
        "id": "re_by_hand",
        "object": "refund",
        "created": stranger["created"],
        "status": "succeeded",
        "payment_intent": "pi_lost",
        "charge": stranger["latest_charge"],
        "metadata": {},
        "amount": 100,
        "currency": "eur",
    }
    other_world(stranger, refund)
    differences = found(check()[1])
    # The number of the lost order is another's by now.
    assert ("S1", "succeeded intents of an order", str(books.shipped)) in differences
    assert ("Q2", "a refund at the bank", str(books.shipped)) in differences
    ask_about("unknown_payment", "pi_lost", **PERSONS)
    status, answer = check()
    assert (status, excused(answer)) == (0, differences)


def test_a_card_that_was_refused_for_a_lost_order_is_a_note(books: Store, other_world: Callable[..., None]) -> None:
    other_world(books.intent(books.declined) | {"id": "pi_lost", "metadata": {}})
    status, answer = check()
    assert status == 0
    assert any("only refused cards" in text for each in answer["checks"] for text in each["remarks"])


@pytest.mark.parametrize(("kind", "excuses"), [("RefundFailed", True), ("screening_unanswered", False)])
def test_a_concern_that_a_person_has_resolved(books: Store, kind: str, excuses: bool) -> None:
    """The money went back by bank transfer, and no machine can know that."""
    net = {("Q2", "the net of an ended order", str(books.paid))}
    execute(CANCELLED.format(**vars(books)))
    assert found(check("--invariant", "Q2")[1]) == net
    concern = Concern.objects.create(order_id=books.paid, kind=kind)
    answer = check("--invariant", "Q2")[1]
    assert (found(answer), excused(answer)) == (set(), net)
    Concern.objects.filter(pk=concern.pk).update(**PERSONS)
    answer = check("--invariant", "Q2")[1]
    assert (found(answer), excused(answer)) == ((set(), net) if excuses else (net, set()))


def test_a_mail_that_a_person_calls_sent(books: Store, other_world: Callable[..., None]) -> None:
    """In doubt for a day, and the person was wrong: their word is on record, and no machine knows better."""
    other_world(mails=lambda lines: [])
    Decision.objects.create(
        token=uuid.uuid4(),
        kind="confirm",
        subject="notifications.message",
        subject_id=str(Message.objects.get(order_id=books.paid, status="sent").pk),
        aggregateid=str(books.paid),
        actor="operator:olga",
        reason="the customer has it",
    )
    answer = check("--invariant", "Q4")[1]
    assert ("Q4", "a sent mail", str(books.paid)) in excused(answer)
    assert ("Q4", "a sent mail", str(books.paid)) not in found(answer)
    assert "operator:olga has said that it was sent: the customer has it" in because(answer)
