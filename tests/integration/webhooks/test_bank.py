"""The bank's webhooks, over HTTP to a real server: stored once, and only nudging."""

import json
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, transaction
from django.test import Client

from outbox import claims
from payments import bank_events, refunds, services
from payments.models import BankEvent, BankEventCursor, Payment, Refund
from tests.integration.webhooks.senders import an_intent, bank_event, signed_by_bank
from tests.local.waiting import wait_until
from tests.threads import together

if TYPE_CHECKING:
    from tests.integration.webhooks.senders import World

Status = Payment.Status
Heard = BankEvent.Status


def waiting_for_customer(world: "World") -> Payment:
    payment = world.payment(card="pm_card_threeDSecure2Required")
    world.work()
    assert world.fresh(payment).status == Status.REQUIRES_ACTION
    return world.fresh(payment)


def test_a_customer_who_confirms_at_the_bank_has_paid_without_any_polling(world: "World") -> None:
    payment = waiting_for_customer(world)
    world.answer_3ds(payment, "approve")
    (event,) = world.heard(payment, "payment_intent.succeeded")
    assert (event.status, event.payment_ref, event.listed) == (Heard.APPLIED, payment.public_id, False)
    assert world.fresh(payment).status == Status.REQUIRES_ACTION  # no state was written
    world.work()  # what is due, and nothing was made due
    assert world.fresh(payment).status == Status.SUCCEEDED
    assert world.facts(payment) == ["PaymentActionRequired", "PaymentProcessed"]
    assert [phase for phase, _ in world.journal(payment)] == ["create", "confirm", "retrieve"]


def test_a_customer_who_refuses_at_the_bank(world: "World") -> None:
    payment = waiting_for_customer(world)
    world.answer_3ds(payment, "reject")
    world.heard(payment, "payment_intent.payment_failed")
    world.work()
    assert world.fresh(payment).status == Status.DECLINED
    assert world.facts(payment) == ["PaymentActionRequired", "PaymentDeclined"]


def test_the_same_event_twice_and_two_events_for_one_change(world: "World") -> None:
    world.sandbox.add_fault("webhook.stripe", "duplicate", times=1, match="payment_intent.succeeded")
    payment = waiting_for_customer(world)
    before = world.fresh(payment).nudges
    world.answer_3ds(payment, "approve")
    (event,) = world.heard(payment, "payment_intent.succeeded")
    wait_until(lambda: world.deliveries(event) == 2)
    assert world.fresh(payment).nudges == before + 1
    world.work()

    world.sandbox.add_fault("webhook.stripe", "duplicate_event", times=1, match="payment_intent.succeeded")
    other = waiting_for_customer(world)
    world.answer_3ds(other, "approve")
    world.heard(other, "payment_intent.succeeded", count=2)
    world.work()
    for each in (payment, other):
        assert world.facts(each) == ["PaymentActionRequired", "PaymentProcessed"]
        assert world.charged(each) == 1


def test_many_at_once_are_one(world: "World") -> None:
    payment = waiting_for_customer(world)
    before = world.fresh(payment).nudges
    event = bank_event(about=an_intent(payment=payment.public_id, id=payment.intent_id))
    assert together(*[lambda: world.tell(event)] * 8) == [200] * 8
    assert BankEvent.objects.filter(event_id=event["id"]).count() == 1
    assert world.fresh(payment).nudges == before + 1


@pytest.mark.parametrize(("kind", "seconds"), [("reorder", 3), ("delay", 0.5)])
def test_reordered_and_delayed_ones_move_nothing_backwards(world: "World", kind: str, seconds: float) -> None:
    """The refusal of the first card arrives after the second one has paid."""
    world.sandbox.add_fault("webhook.stripe", kind, times=1, seconds=seconds, match="payment_intent.payment_failed")
    payment = world.payment(card="pm_card_visa_chargeDeclined")
    world.work()
    services.give_card(order_id=payment.order_id, payment_method="pm_card_visa")
    world.work()
    world.heard(payment, "payment_intent.succeeded")
    world.heard(payment, "payment_intent.payment_failed")
    world.work()
    assert world.fresh(payment).status == Status.SUCCEEDED
    assert world.facts(payment) == ["PaymentDeclined", "PaymentProcessed"]


def test_a_decline_whose_webhook_overtakes_its_answer_is_told_once(world: "World") -> None:
    payment = world.payment(card="pm_card_visa_chargeDeclined")
    engine = world.engine()
    engine.run_once()
    engine._wait_for_answer(None)
    engine._record_finished()  # the intent's id is saved, the confirm is under way
    engine._wait_for_answer(None)  # … and answered, not recorded
    world.heard(payment, "payment_intent.payment_failed")
    engine.run_until_idle()
    engine.close()
    assert (world.fresh(payment).status, world.fresh(payment).due_at) == (Status.DECLINED, None)
    assert world.facts(payment) == ["PaymentDeclined"]
    assert [phase for phase, _ in world.journal(payment)] == ["create", "confirm"]


def test_one_that_overtakes_the_recording_is_not_lost(world: "World") -> None:
    """An older view is in the worker's hands while the news arrives."""
    payment = world.payment(card="pm_card_threeDSecure2Required")
    engine = world.engine()
    engine.run_once()
    engine._wait_for_answer(None)
    engine._record_finished()
    engine._wait_for_answer(None)  # the answer says: the customer must confirm
    world.answer_3ds(payment, "approve")
    world.heard(payment, "payment_intent.succeeded")
    engine.run_until_idle()
    engine.close()
    assert world.fresh(payment).status == Status.SUCCEEDED
    assert world.facts(payment) == ["PaymentActionRequired", "PaymentProcessed"]


def test_one_that_meets_the_recording_waits_for_its_lock(world: "World") -> None:
    payment = waiting_for_customer(world)
    event = bank_event(about=an_intent(payment=payment.public_id, id=payment.intent_id))
    answers: list[int] = []
    sender = threading.Thread(target=lambda: answers.append(world.tell(event)))
    with transaction.atomic():
        Payment.objects.select_for_update(no_key=True).get(pk=payment.pk)
        before = payment.nudges
        sender.start()
        wait_until(_somebody_waits_for_us)
        assert answers == []
    sender.join()
    assert answers == [200]
    assert world.fresh(payment).nudges == before + 1


def _somebody_waits_for_us() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)))"
        )
        (waits,) = cursor.fetchone()
    return bool(waits)


# --- before our commit ------------------------------------------------------------------------------


def test_an_early_one_is_kept_and_applied_later(world: "World") -> None:
    ours = uuid.uuid4()
    event = bank_event(about=an_intent(payment=ours))
    assert world.tell(event) == 200
    early = BankEvent.objects.get(event_id=event["id"])
    assert (early.status, early.attempts, early.applied_at) == (Heard.WAITING, 1, None)
    payment = world.payment(card="pm_card_threeDSecure2Required", released=False)
    Payment.objects.filter(pk=payment.pk).update(public_id=ours)
    wait_until(lambda: bank_events.apply_events() > 0)  # a second's backoff
    early.refresh_from_db()
    assert early.status == Heard.APPLIED
    assert world.fresh(payment).nudges == 1
    assert bank_events.apply_events() == 0


def test_what_is_never_ours_is_given_up_aloud(world: "World", caplog: pytest.LogCaptureFixture) -> None:
    event = bank_event(about=an_intent())
    assert world.tell(event) == 200
    stranger = BankEvent.objects.filter(event_id=event["id"])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE payments_bankevent SET due_at = now(), received_at = now() - interval '23 hours'")
    assert bank_events.apply_events() == 1
    assert stranger.get().status == Heard.WAITING
    with connection.cursor() as cursor:
        cursor.execute("UPDATE payments_bankevent SET due_at = now(), received_at = now() - interval '25 hours'")
    assert bank_events.apply_events() == 1
    assert (stranger.get().status, stranger.get().due_at) == (Heard.UNMATCHED, None)
    assert f"action=unmatched event={event['id']}" in caplog.text
    assert bank_events.apply_events() == 0


def test_what_the_store_has_no_use_for_is_answered_and_not_kept(world: "World") -> None:
    assert world.tell(bank_event(type="customer.created", about={"id": "cus_1", "email": "ada@example.org"})) == 200
    assert world.tell(bank_event(type="balance.available", about={"object": "balance"})) == 200
    assert not BankEvent.objects.exists()


# --- refused ----------------------------------------------------------------------------------------


def test_forged_stale_future_and_foreign_ones_leave_no_row(world: "World") -> None:
    payment = waiting_for_customer(world)
    before = world.fresh(payment)
    event = bank_event(about=an_intent(payment=payment.public_id, id=payment.intent_id))
    good = json.dumps(event).encode()
    assert world.tell(event, secret="whsec_forged") == 403
    assert world.tell(event, age=301) == 403
    assert world.tell(event, age=-330) == 403
    assert world.tell({**event, "livemode": True}) == 403
    assert world.post("stripe", good, {}) == 403
    assert world.post("stripe", good + b" ", signed_by_bank(good)) == 403
    assert world.post("stripe", good, {"Stripe-Signature": "t=1,v1=ü"}) == 403
    assert world.post("stripe", b"\xff" + good, signed_by_bank(good)) == 403
    assert not BankEvent.objects.filter(event_id=event["id"]).exists()
    assert world.fresh(payment).nudges == before.nudges
    assert world.tell(event, age=290) == 200
    assert world.tell(event, age=-60) == 200
    assert BankEvent.objects.filter(event_id=event["id"]).count() == 1


def test_malformed_and_oversize_ones(world: "World") -> None:
    intent = an_intent()
    event = bank_event(about=intent)
    bodies: list[Any] = [
        [],
        {},
        "event",
        {**event, "object": "charge"},
        {**event, "id": ""},
        {**event, "id": "evt_1\u0000"},
        {**event, "id": "evt_1\n"},
        {**event, "id": "e" * 256},
        {**event, "created": -1},
        {**event, "created": 2**40},
        {**event, "created": "now"},
        {**event, "livemode": None},
        {**event, "data": None},
        {**event, "data": {"object": {**intent, "object": "unicorn"}}},
        {**event, "data": {"object": {**intent, "metadata": {"payment": 7}}}},
    ]
    for broken in bodies:
        body = json.dumps(broken).encode()
        assert world.post("stripe", body, signed_by_bank(body)) == 400, broken
    deep = b'{"object":' + b"[" * 100_000
    assert world.post("stripe", deep, signed_by_bank(deep)) == 400
    large = json.dumps({**event, "padding": "x" * 256 * 1024}).encode()
    assert world.post("stripe", large, signed_by_bank(large)) == 413
    assert not BankEvent.objects.exists()
    almost = {**event, "padding": "x" * 255 * 1024}
    assert world.tell(almost) == 200


def test_only_posts_and_no_cookie(world: "World") -> None:
    client = Client(enforce_csrf_checks=True)
    for path in ("/webhooks/stripe/", "/webhooks/sendgrid/"):
        assert client.get(path).status_code == 405
        answer = client.post(path, b"{}", content_type="application/json")
        assert answer.status_code == 403
        assert not answer.cookies


@pytest.mark.parametrize("name", ["STRIPE_WEBHOOK_SECRET", "SENDGRID_WEBHOOK_PUBLIC_KEY"])
def test_without_a_key_nothing_can_be_checked(
    world: "World", settings: Any, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    setattr(settings, name, [] if name == "STRIPE_WEBHOOK_SECRET" else "")
    path = "/webhooks/stripe/" if name.startswith("STRIPE") else "/webhooks/sendgrid/"
    assert Client().post(path, b"{}", content_type="application/json").status_code == 503
    assert f"{name} is not set" in caplog.text


def test_any_of_several_secrets_will_do(world: "World", settings: Any) -> None:
    settings.STRIPE_WEBHOOK_SECRET = ["whsec_old", "whsec_new"]
    client = Client()
    for secret in settings.STRIPE_WEBHOOK_SECRET:
        body = json.dumps(bank_event(about=an_intent())).encode()
        signature = signed_by_bank(body, secret=secret)["Stripe-Signature"]
        answer = client.post("/webhooks/stripe/", body, "application/json", headers={"Stripe-Signature": signature})
        assert answer.status_code == 200
    assert BankEvent.objects.count() == 2


def test_a_live_key_takes_live_events_only(world: "World", settings: Any) -> None:
    settings.STRIPE_SECRET_KEY = "sk_live_x"
    for livemode, status in ((False, 403), (True, 200)):
        body = json.dumps(bank_event(about=an_intent(), livemode=livemode)).encode()
        signature = signed_by_bank(body)["Stripe-Signature"]
        answer = Client().post("/webhooks/stripe/", body, "application/json", headers={"Stripe-Signature": signature})
        assert answer.status_code == status


def test_a_forged_one_ahead_of_the_true_one(world: "World") -> None:
    world.sandbox.add_fault("webhook.stripe", "forge", times=1, match="payment_intent.succeeded")
    payment = waiting_for_customer(world)
    world.answer_3ds(payment, "approve")
    world.heard(payment, "payment_intent.succeeded")
    world.work()
    assert world.fresh(payment).status == Status.SUCCEEDED


# --- missed -----------------------------------------------------------------------------------------


def test_missed_ones_are_found_in_the_banks_list(world: "World", caplog: pytest.LogCaptureFixture) -> None:
    payment = waiting_for_customer(world)
    bank_events.catch_up()  # the list goes by seconds: an earlier test's events may lie in our first
    assert bank_events.catch_up() == 0
    world.sandbox.add_fault("webhook.stripe", "drop")
    world.answer_3ds(payment, "approve")
    world.work()
    assert world.fresh(payment).status == Status.REQUIRES_ACTION
    assert bank_events.catch_up() == 1
    event = BankEvent.objects.get(intent_id=payment.intent_id)
    assert (event.status, event.listed) == (Heard.APPLIED, True)
    assert "webhooks_missed" not in caplog.text  # it may just have been on its way
    world.work()
    assert world.fresh(payment).status == Status.SUCCEEDED
    assert bank_events.catch_up() == 0


def test_the_list_is_read_from_the_cursor_on_and_moves_it(world: "World", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank_events, "OVERLAP", bank_events.OVERLAP * 0)
    world.sandbox.add_fault("webhook.stripe", "drop")
    first = world.payment()
    Payment.objects.filter(pk=first.pk).update(created_at="2020-01-01T00:00:00Z")  # from the bank's beginning
    world.work()
    assert bank_events.catch_up() > 0
    assert BankEvent.objects.filter(intent_id=world.fresh(first).intent_id).exists()
    payments = []
    for _ in range(3):
        wait_until(lambda: int(time.time()) != _newest(world))  # the bank counts in seconds
        payments.append(world.payment())
        world.work()
    assert bank_events.catch_up() == 3
    cursor = BankEventCursor.objects.get()
    assert BankEvent.objects.get(event_id=cursor.event_id).intent_id == world.fresh(payments[1]).intent_id
    BankEvent.objects.all().delete()
    assert bank_events.catch_up() == 1  # only what comes after the cursor
    BankEventCursor.objects.update(event_id="evt_forgotten")
    assert bank_events.catch_up() >= 3  # the bank does not know it any more: all since our first payment


def _newest(world: "World") -> int:
    return max(int(event["created"]) for event in world.sandbox.bank_objects("event").values())


def test_an_old_missed_one_is_an_alert(world: "World", caplog: pytest.LogCaptureFixture, monkeypatch: Any) -> None:
    monkeypatch.setattr(bank_events, "ON_ITS_WAY", -bank_events.ON_ITS_WAY)
    payment = waiting_for_customer(world)
    world.sandbox.add_fault("webhook.stripe", "drop")
    world.answer_3ds(payment, "approve")
    bank_events.catch_up()
    assert "action=webhooks_missed" in caplog.text
    assert "clocks of the web servers" in caplog.text


def test_a_bank_that_does_not_answer_stops_nothing(world: "World", caplog: pytest.LogCaptureFixture) -> None:
    waiting_for_customer(world)
    world.sandbox.add_fault("events.list", "error_500_before")
    assert bank_events.catch_up() == 0
    assert "action=catch_up_failed" in caplog.text


# --- refunds ----------------------------------------------------------------------------------------


def test_a_refund_that_fails_later_is_told_through_its_webhook(world: "World") -> None:
    from payments.refund_worker import make_engine

    # Not before the first look: on a busy machine that takes longer than the bank needs to change its mind.
    world.sandbox.add_fault("webhook.stripe", "delay", seconds=2, match="refund.failed")
    payment = world.payment(card="pm_card_refundFail")
    world.work()
    refund = refunds.request_refund(
        order_id=payment.order_id, amount=None, reason="x", request_token="x", actor="system", by_person=False
    )

    def work() -> str:
        engine = make_engine()
        engine.run_until_idle()
        engine.close()
        refund.refresh_from_db()
        return refund.status

    assert work() == Refund.Status.SUCCEEDED
    (event,) = world.heard(payment, "refund.failed")
    assert (event.status, event.refund_id, event.refund_ref) == (Heard.APPLIED, refund.refund_id, refund.public_id)
    assert work() == Refund.Status.FAILED
    assert world.facts(payment) == ["PaymentProcessed", "RefundProcessed", "RefundFailed"]


def test_a_refund_made_by_hand_at_the_bank_is_nobodys(world: "World") -> None:
    payment = world.payment()
    world.work()
    bank = _bank(world)
    bank.v1.refunds.create({"payment_intent": world.fresh(payment).intent_id, "amount": 100})
    (event,) = world.heard(payment, "refund.created")
    assert event.status == Heard.WAITING


def _bank(world: "World") -> Any:
    from tests.sandbox.clients import stripe_client

    return stripe_client(world.sandbox)


# --- housekeeping -----------------------------------------------------------------------------------


def test_old_applied_ones_are_purged_and_the_others_stay(world: "World", settings: Any) -> None:
    payment = waiting_for_customer(world)
    old, young, unmatched = (bank_event(about=an_intent(payment=payment.public_id)) for _ in range(3))
    unmatched["data"]["object"]["metadata"] = {}
    for event in (old, young, unmatched):
        assert world.tell(event) == 200
    BankEvent.objects.exclude(event_id=young["id"]).update(received_at="2020-01-01T00:00:00Z")
    assert bank_events.purge(limit=1) == 1
    assert bank_events.purge() == 0
    kept = set(BankEvent.objects.values_list("event_id", flat=True))
    assert {young["id"], unmatched["id"]} <= kept
    assert old["id"] not in kept


def test_nudges_are_only_counted_where_nothing_has_to_be_read(world: "World") -> None:
    payment = world.payment(card="pm_card_visa_chargeDeclined")
    world.work()
    assert claims.nudge(Payment.objects.filter(pk=payment.pk)) == 1
    assert world.fresh(payment).due_at is None
