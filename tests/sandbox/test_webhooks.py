"""Webhooks of bank and mail provider: signed, retried, remembered, and their faults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe
from sendgrid.helpers.eventwebhook import EventWebhook, EventWebhookHeader

from tests.sandbox.clients import SETTLE_SECONDS, created, eventually, mail_client, paid, stripe_client
from tests.sandbox.mails import a_mail
from tests.sandbox.receiver import Delivery, Receiver
from tests.sandbox_process import SandboxProcess

SECRET = "whsec_tests"


@pytest.fixture(scope="module")
def store() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def process(store: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    folder: Path = tmp_path_factory.mktemp("webhooks")
    with SandboxProcess(
        folder,
        settle_seconds=SETTLE_SECONDS,
        stripe_webhook_url=store.url + "stripe",
        stripe_webhook_secret=SECRET,
        sendgrid_webhook_url=store.url + "sendgrid",
    ) as started:
        yield started


@pytest.fixture
def world(process: SandboxProcess, store: Receiver) -> Iterator[SandboxProcess]:
    process.clear_faults()
    store.failures = 0
    yield process
    process.clear_faults()


def bank_events(store: Receiver, object_id: str) -> list[dict[str, Any]]:
    """Return the bank's events about an object, as they arrived."""
    events = [json.loads(found.body) for found in list(store.deliveries) if "Stripe-Signature" in found.headers]
    return [event for event in events if event["data"]["object"]["id"] == object_id]


def mail_deliveries(store: Receiver, email: str) -> list[Delivery]:
    return [found for found in list(store.deliveries) if email.encode() in found.body]


def verified(delivery: Delivery) -> stripe.Event:
    event: stripe.Event = stripe.Webhook.construct_event(delivery.body, delivery.headers["Stripe-Signature"], SECRET)
    return event


def test_an_event_arrives_signed(world: SandboxProcess, store: Receiver) -> None:
    bank = stripe_client(world)
    intent = paid(bank)
    eventually(lambda: bank_events(store, intent.id), what="the event")
    delivery = next(found for found in store.deliveries if intent.id.encode() in found.body)
    event = verified(delivery)
    assert event.type == "payment_intent.succeeded"
    assert event.data.object["status"] == "succeeded"
    eventually(lambda: bank.v1.events.retrieve(event.id).pending_webhooks == 0, what="the receipt")
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.Webhook.construct_event(delivery.body + b" ", delivery.headers["Stripe-Signature"], SECRET)


def test_every_change_has_its_event(world: SandboxProcess, store: Receiver) -> None:
    bank = stripe_client(world)
    canceled = bank.v1.payment_intents.cancel(created(bank).id)
    waiting = created(
        bank, confirm=True, payment_method="pm_card_authenticationRequired", return_url="http://store.example/"
    )
    declined = created(bank)
    with pytest.raises(stripe.CardError):
        bank.v1.payment_intents.confirm(
            declined.id, {"payment_method": "pm_card_visa_chargeDeclined", "return_url": "http://store.example/"}
        )
    slow = created(bank, confirm=True, payment_method="pm_usBankAccount_success", return_url="http://store.example/")
    refund = bank.v1.refunds.create({"payment_intent": paid(bank, method="pm_card_refundFail").id})
    expected = [
        (canceled.id, {"payment_intent.canceled"}),
        (waiting.id, {"payment_intent.requires_action"}),
        (declined.id, {"payment_intent.payment_failed"}),
        (slow.id, {"payment_intent.processing", "payment_intent.succeeded"}),
        (refund.id, {"refund.created", "refund.updated", "refund.failed"}),
        (str(refund.charge), {"charge.refunded"}),
    ]
    for object_id, types in expected:
        eventually(
            lambda object_id=object_id, types=types: {e["type"] for e in bank_events(store, object_id)} == types,  # type: ignore[misc]
            what=f"{types}",
        )


def test_a_failing_endpoint_is_tried_again(world: SandboxProcess, store: Receiver) -> None:
    store.failures = 2
    intent = paid(stripe_client(world))
    eventually(lambda: bank_events(store, intent.id), what="the third try")
    assert store.failures == 0


def test_what_was_not_delivered_is_sent_after_a_kill(world: SandboxProcess, store: Receiver) -> None:
    store.failures = 1000
    intent = paid(stripe_client(world))
    mail_client(world).client.mail.send.post(request_body=a_mail(to="killed@example.com"))
    world.kill()
    store.failures = 0
    world.start()
    eventually(lambda: bank_events(store, intent.id), what="the event")
    eventually(lambda: mail_deliveries(store, "killed@example.com"), what="the mail's event")


def test_duplicates(world: SandboxProcess, store: Receiver) -> None:
    bank = stripe_client(world)
    world.add_fault("webhook.stripe", "duplicate", times=1)
    same = paid(bank)
    eventually(lambda: len(bank_events(store, same.id)) == 2, what="the duplicate")
    assert len({event["id"] for event in bank_events(store, same.id)}) == 1
    world.add_fault("webhook.stripe", "duplicate_event", times=1)
    twins = paid(bank)
    eventually(lambda: len(bank_events(store, twins.id)) == 2, what="the twin")
    ids = {event["id"] for event in bank_events(store, twins.id)}
    assert len(ids) == 2
    assert {bank.v1.events.retrieve(event_id).type for event_id in ids} == {"payment_intent.succeeded"}


def test_reordered_delayed_dropped(world: SandboxProcess, store: Receiver) -> None:
    bank = stripe_client(world)
    world.add_fault("webhook.stripe", "reorder", times=1, seconds=5)
    first, second = paid(bank), paid(bank)
    eventually(lambda: bank_events(store, first.id), what="the held one")
    arrived = [json.loads(found.body)["data"]["object"]["id"] for found in store.deliveries if b'"evt_' in found.body]
    assert arrived.index(second.id) < arrived.index(first.id)
    world.add_fault("webhook.stripe", "drop", times=1)
    lost = paid(bank)
    world.add_fault("webhook.stripe", "delay", times=1, seconds=0.3)
    late = paid(bank)
    eventually(lambda: bank_events(store, late.id), what="the late one")
    assert bank_events(store, lost.id) == []
    assert bank.v1.events.list({"limit": 10, "type": "payment_intent.succeeded"}).data


def test_a_forged_one_goes_ahead(world: SandboxProcess, store: Receiver) -> None:
    world.add_fault("webhook.stripe", "forge", times=1)
    intent = paid(stripe_client(world))
    eventually(lambda: len(bank_events(store, intent.id)) == 2, what="both")
    forged, true = [found for found in store.deliveries if intent.id.encode() in found.body]
    with pytest.raises(stripe.SignatureVerificationError):
        verified(forged)
    assert verified(true).type == "payment_intent.succeeded"


def test_mail_events_are_signed_and_carry_the_custom_arguments(world: SandboxProcess, store: Receiver) -> None:
    email = "signed@example.com"
    answer = mail_client(world).client.mail.send.post(request_body=a_mail(to=email))
    eventually(lambda: len(mail_deliveries(store, email)) == 2, what="processed and delivered")
    checker = EventWebhook((world.data / "sendgrid_public_key").read_text())
    events = []
    for found in mail_deliveries(store, email):
        signature = found.headers[EventWebhookHeader.SIGNATURE]
        timestamp = found.headers[EventWebhookHeader.TIMESTAMP]
        assert checker.verify_signature(found.body.decode(), signature, timestamp)
        assert not checker.verify_signature(found.body.decode() + " ", signature, timestamp)
        events += json.loads(found.body)
    assert [event["event"] for event in events] == ["processed", "delivered"]
    assert {(event["order"], event["message"]) for event in events} == {("7", "17")}
    assert {event["sg_message_id"].startswith(answer.headers["X-Message-Id"]) for event in events} == {True}


@pytest.mark.parametrize(("name", "expected"), [("bounce", ["processed", "bounce"]), ("drop+1", ["dropped"])])
def test_addresses_that_do_not_get_their_mail(
    world: SandboxProcess, store: Receiver, name: str, expected: list[str]
) -> None:
    email = f"{name}@example.com"
    mail_client(world).client.mail.send.post(request_body=a_mail(to=email))

    def kinds() -> list[str]:
        return [event["event"] for found in mail_deliveries(store, email) for event in json.loads(found.body)]

    eventually(lambda: kinds() == expected, what=f"{expected}")
    query = {"query": f'to_email="{email}"', "limit": 10}
    messages = json.loads(mail_client(world).client.messages.get(query_params=query).body)["messages"]
    assert messages[0]["status"] == "not_delivered"


def test_forged_and_repeated_mail_events(world: SandboxProcess, store: Receiver) -> None:
    checker = EventWebhook((world.data / "sendgrid_public_key").read_text())
    world.add_fault("webhook.sendgrid", "forge", times=1, match="forged@")
    mail_client(world).client.mail.send.post(request_body=a_mail(to="forged@example.com"))
    eventually(lambda: len(mail_deliveries(store, "forged@example.com")) == 3, what="all three")
    good = [
        checker.verify_signature(
            found.body.decode(),
            found.headers[EventWebhookHeader.SIGNATURE],
            found.headers[EventWebhookHeader.TIMESTAMP],
        )
        for found in mail_deliveries(store, "forged@example.com")
    ]
    assert good.count(False) == 1
    world.add_fault("webhook.sendgrid", "duplicate_event", times=1, match="twice@")
    mail_client(world).client.mail.send.post(request_body=a_mail(to="twice@example.com"))
    eventually(lambda: len(mail_deliveries(store, "twice@example.com")) == 3, what="all three")
    ids = [json.loads(found.body)[0]["sg_event_id"] for found in mail_deliveries(store, "twice@example.com")]
    assert len(set(ids)) == 3
