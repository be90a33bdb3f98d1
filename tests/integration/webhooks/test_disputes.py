"""The customer's bank wants the money back: heard by webhook, read, and told to the order."""

from typing import TYPE_CHECKING, Any

import pytest

from outbox.models import Event
from outbox.sweep import sweep
from payments import refunds
from payments.dispute_worker import make_engine
from payments.models import BankEvent, Dispute, Payment, PaymentAttempt, Refund
from payments.operations import Approve
from shop.decisions import record_shipment
from shop.models import Concern, Order
from tests.integration.orders import offer, place
from tests.integration.webhooks.senders import an_intent, bank_event
from tests.local.waiting import wait_until

if TYPE_CHECKING:
    from tests.integration.webhooks.senders import World

Status = Dispute.Status


def disputed(card: str = "pm_card_createDispute") -> tuple[Order, Dispute]:
    """An order whose charge is disputed, as far as the store has heard and read of it."""
    order = place(offer(), card=card).order
    sweep(seconds=30)
    wait_until(Dispute.objects.exists)
    sweep(seconds=30)
    order.refresh_from_db()
    return order, Dispute.objects.get()


def close(world: "World", dispute_id: str, result: str) -> Dispute:
    """The customer's bank decides, and the store hears and reads of it."""
    world.sandbox.control("POST", f"disputes/{dispute_id}/close", {"result": result})
    closed = BankEvent.objects.filter(dispute_id=dispute_id, type="charge.dispute.closed", status="applied")
    wait_until(closed.exists)
    sweep(seconds=30)
    return Dispute.objects.get(dispute_id=dispute_id)


def told(order: Order) -> list[tuple[str, Any]]:
    """What was published about the order's disputes, with the word that matters."""
    events = Event.objects.filter(aggregateid=str(order.pk), type__startswith="Dispute").order_by("position")
    return [(event.type, event.payload.get("reason") or event.payload.get("outcome")) for event in events]


def test_a_dispute_holds_the_order(world: "World") -> None:
    order, dispute = disputed()
    assert dispute.headers["correlation_id"] == dispute.payment.headers["correlation_id"]
    assert (dispute.status, dispute.bank_status, dispute.reason) == (Status.OPEN, "needs_response", "fraudulent")
    assert (dispute.amount, dispute.currency, dispute.refundable) == (order.total, "EUR", False)
    assert dispute.opened_at is not None
    assert dispute.due_at is not None  # read again now and then, should the webhook of its end be missed
    assert order.status == Order.Status.ON_HOLD
    assert told(order) == [("DisputeOpened", "fraudulent")]
    assert Event.objects.filter(aggregateid=str(order.pk), type="PicklistWithdrawn").count() == 1
    assert Concern.objects.get(order=order).kind == "DisputeOpened"
    (attempt,) = PaymentAttempt.objects.filter(phase=PaymentAttempt.Phase.DISPUTE_READ)
    assert (attempt.outcome, attempt.bank_status, attempt.key) == ("answered", "needs_response", "")


@pytest.mark.parametrize(("result", "ends_as"), [("won", Order.Status.ACCEPTED), ("lost", Order.Status.CANCELLED)])
def test_its_end_decides_about_the_order(world: "World", result: str, ends_as: str) -> None:
    order, dispute = disputed()
    record_shipment(reference=f"S-{order.pk}", order_id=order.pk, kind="withdrawn", reported_by="warehouse")
    dispute = close(world, dispute.dispute_id, result)
    assert (dispute.status, dispute.bank_status, dispute.due_at) == (Status.CLOSED, result, None)
    assert dispute.closed_at is not None
    assert told(order) == [("DisputeOpened", "fraudulent"), ("DisputeClosed", result)]
    order.refresh_from_db()
    assert order.status == ends_as
    assert not Refund.objects.exists()


def test_one_that_has_ended_before_it_was_read_is_told_from_its_beginning(world: "World") -> None:
    world.sandbox.add_fault("webhook.stripe", "drop", match="charge.dispute.created")
    order = place(offer(), card="pm_card_createDispute").order
    sweep(seconds=30)
    intent_id = Payment.objects.get().intent_id

    def opened() -> list[str]:
        found = world.sandbox.bank_objects("dispute").values()
        return [each["id"] for each in found if each["payment_intent"] == intent_id]

    wait_until(lambda: bool(opened()))
    close(world, opened()[0], "lost")
    assert told(order) == [("DisputeOpened", "fraudulent"), ("DisputeClosed", "lost")]


def test_an_inquiry(world: "World") -> None:
    order, dispute = disputed(card="pm_card_createDisputeInquiry")
    assert (dispute.bank_status, dispute.refundable) == ("warning_needs_response", True)
    close(world, dispute.dispute_id, "won")
    assert told(order) == [("DisputeOpened", "fraudulent"), ("DisputeClosed", "warning_closed")]
    assert ask(order).amount == 100


def ask(order: Order, *, by_person: bool = True) -> Refund:
    return refunds.request_refund(
        order_id=order.pk,
        amount=100,
        reason="asked",
        request_token=f"r{Refund.objects.count()}",
        actor="operator:olga",
        by_person=by_person,
    )


def test_nobody_refunds_what_the_customers_bank_fetches(world: "World") -> None:
    order, dispute = disputed()
    with pytest.raises(refunds.Disputed, match=f"is fetching the money back by itself \\(dispute {dispute.dispute_id}"):
        ask(order)
    close(world, dispute.dispute_id, "lost")
    with pytest.raises(refunds.Disputed, match="has fetched"):
        ask(order)
    assert not Refund.objects.exists()


def test_nobody_refunds_what_nobody_has_read_yet(world: "World") -> None:
    order = place(offer()).order
    sweep(seconds=30)
    Dispute.objects.create(dispute_id="dp_1", payment=Payment.objects.get())
    with pytest.raises(refunds.Disputed, match="dp_1"):
        ask(order)
    assert ask(order, by_person=False).amount == 100  # what the order process owes is the bank's to refuse


def test_nobody_approves_what_the_customers_bank_fetches_since(world: "World", settings: Any) -> None:
    settings.REFUND_APPROVAL_ABOVE = 50
    order = place(offer()).order
    sweep(seconds=30)
    asked = ask(order)
    Dispute.objects.create(dispute_id="dp_1", payment=Payment.objects.get())
    with pytest.raises(refunds.Disputed, match="dp_1"):
        refunds.decide(refund_id=asked.pk, approve=True, actor="operator:boss", reason="fine")
    assert "dp_1" in Approve().refusal(asked, actor="operator:boss")
    refunds.decide(refund_id=asked.pk, approve=False, actor="operator:boss", reason="the bank does it")
    asked.refresh_from_db()
    assert asked.status == Refund.Status.CANCELED


def test_a_won_one_may_be_refunded(world: "World") -> None:
    order, dispute = disputed()
    close(world, dispute.dispute_id, "won")
    assert ask(order).amount == 100


def test_events_about_one_dispute_are_one_row(world: "World") -> None:
    world.sandbox.add_fault("webhook.stripe", "duplicate_event", match="charge.dispute.created")
    order, dispute = disputed()
    wait_until(lambda: BankEvent.objects.filter(dispute_id=dispute.dispute_id).count() == 2)
    sweep(seconds=30)
    assert Dispute.objects.get().nudges == 1  # by the second; the first has made the row
    assert told(order) == [("DisputeOpened", "fraudulent")]


def test_a_dispute_waits_for_the_payment_to_be_known(world: "World") -> None:
    """The answer to the charge was lost, and the dispute comes before the worker has read the truth."""
    world.sandbox.add_fault("payment_intents.confirm", "drop_after", times=1)
    world.sandbox.add_fault("webhook.stripe", "drop", match="payment_intent.succeeded")
    payment = world.payment(card="pm_card_createDispute")
    world.work()
    assert world.fresh(payment).status == Payment.Status.UNKNOWN
    wait_until(lambda: Dispute.objects.filter(payment=payment).exists())
    engine = make_engine()
    engine.run_until_idle()
    dispute = Dispute.objects.get()
    assert (dispute.status, dispute.token) == (Status.UNREAD, None)
    assert world.facts(payment) == []
    world.work()  # the dispute's webhook has made the payment due
    wait_until(lambda: engine.run_until_idle() > 0 and Dispute.objects.get().status == Status.OPEN)
    engine.close()
    assert world.facts(payment) == ["PaymentProcessed", "DisputeOpened"]


@pytest.mark.parametrize("kind", ["drop_before", "error_500_before", "rate_limit", "malformed_body", "down"])
def test_a_bank_that_does_not_show_it_is_asked_again(world: "World", kind: str) -> None:
    payment = world.payment(card="pm_card_createDispute")
    world.work()
    wait_until(lambda: Dispute.objects.filter(payment=payment).exists())
    rule = world.sandbox.add_fault("bank" if kind == "down" else "disputes.retrieve", kind)
    engine = make_engine()
    engine.run_until_idle()
    dispute = Dispute.objects.get()
    assert (dispute.status, dispute.blocked_reason, dispute.token) == (Status.UNREAD, "", None)
    assert dispute.due_at is not None
    world.sandbox.remove_fault(rule)
    wait_until(lambda: engine.run_until_idle() > 0 and Dispute.objects.get().status == Status.OPEN)
    engine.close()
    assert world.facts(payment) == ["PaymentProcessed", "DisputeOpened"]


def test_one_that_the_bank_does_not_know_waits_for_a_person(world: "World") -> None:
    payment = world.payment()
    world.work()
    about = an_intent(id="dp_nowhere", object="dispute", payment_intent=world.fresh(payment).intent_id)
    assert world.tell(bank_event(about=about, type="charge.dispute.created")) == 200
    engine = make_engine()
    engine.run_until_idle()
    engine.close()
    dispute = Dispute.objects.get()
    assert (dispute.status, dispute.due_at) == (Status.UNREAD, None)
    assert "does not show this dispute" in dispute.blocked_reason
    assert "DisputeOpened" not in world.facts(payment)


def test_a_reader_whose_lease_ran_out_writes_nothing(world: "World") -> None:
    payment = world.payment(card="pm_card_createDispute")
    world.work()
    wait_until(lambda: Dispute.objects.filter(payment=payment).exists())
    slow, quick = make_engine(), make_engine()
    slow.run_once()
    slow._wait_for_answer(None)
    Dispute.objects.update(due_at="2020-01-01T00:00:00Z")
    quick.run_until_idle()
    slow._record_finished()
    slow.close()
    quick.close()
    assert Dispute.objects.get().status == Status.OPEN
    assert world.facts(payment) == ["PaymentProcessed", "DisputeOpened"]
    late = PaymentAttempt.objects.filter(phase="dispute_read").earliest("id")
    assert (late.claim_lost, late.outcome) == (True, "answered")
