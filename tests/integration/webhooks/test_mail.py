"""The mail provider's webhook: evidence for mails in doubt, and what became of the others."""

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from django.db.models.functions import Now
from django.test import Client

from notifications import mail_events
from notifications.models import MailEvent, Message
from notifications.worker import make_engine
from outbox.sweep import sweep
from tests.integration.orders import offer, place
from tests.integration.webhooks.senders import private_key, signed_by_mail
from tests.local.waiting import wait_until

if TYPE_CHECKING:
    from tests.integration.webhooks.senders import World

Status = Message.Status


@pytest.fixture
def message(world: "World", settings: Any) -> Message:
    """A confirmation that is about to be sent."""
    settings.MAIL_TIMEOUT = 1.0
    stop = world.sandbox.add_fault("mail", "rate_limit")
    place(offer())
    sweep(seconds=30)
    world.sandbox.remove_fault(stop)
    Message.objects.update(attempts=0, due_at=Now())
    return Message.objects.get()


def work() -> None:
    engine = make_engine()
    try:
        engine.run_until_idle(seconds=20)
    finally:
        engine.close()


def an_event(message: Message, kind: str = "delivered", **changes: Any) -> dict[str, Any]:
    return {
        "email": message.recipient,
        "timestamp": 1_790_000_000,
        "event": kind,
        "sg_event_id": uuid.uuid4().hex,
        "sg_message_id": "abc-_1.recvd-1",
        "message_id": str(message.public_id),
        "order": message.order_number,
        **changes,
    }


def kinds(message: Message) -> list[str]:
    return list(MailEvent.objects.filter(message=message).order_by("happened_at", "id").values_list("kind", flat=True))


def accepted(world: "World", message: Message) -> int:
    """How often the provider has accepted it, by its own ledger."""
    lines = world.sandbox.ledger(book="mail")
    return sum(1 for line in lines if line.get("status") == 202 and str(message.public_id) in str(line["mail"]))


@pytest.mark.parametrize("fault", ["drop_after", "error_500_after"])
def test_a_mail_whose_answer_was_lost_is_sent_by_evidence(world: "World", message: Message, fault: str) -> None:
    world.sandbox.add_fault("webhook.sendgrid", "delay", seconds=0.5)
    world.sandbox.add_fault("mail.send", fault, times=1)
    work()
    message.refresh_from_db()
    assert message.status == Status.AMBIGUOUS
    wait_until(lambda: "processed" in kinds(message))
    assert Message.objects.get().status == Status.AMBIGUOUS  # no state was written
    work()
    message.refresh_from_db()
    assert message.status == Status.SENT
    assert message.provider_id != ""
    assert accepted(world, message) == 1


def test_evidence_that_overtakes_the_lost_answer_is_not_lost(world: "World", message: Message) -> None:
    world.sandbox.add_fault("mail.send", "drop_after", times=1)
    engine = make_engine(in_flight=1)
    engine.run_once()
    engine._wait_for_answer(None)  # the mail is accepted, the answer is lost, and nothing is recorded
    wait_until(lambda: "processed" in kinds(message))
    assert Message.objects.get().status == Status.SENDING
    engine.run_until_idle()
    engine.close()
    assert Message.objects.get().status == Status.SENT
    assert accepted(world, message) == 1


def test_a_mail_that_was_left_to_a_person_gets_its_evidence(world: "World", message: Message) -> None:
    world.sandbox.add_fault("webhook.sendgrid", "drop")
    world.sandbox.add_fault("mail.send", "drop_after", times=1)
    work()
    Message.objects.update(due_at=Now(), ambiguous_at="2020-01-01T00:00:00Z")
    work()
    assert "confirm or resend" in Message.objects.get().blocked_reason
    assert world.tell_mail([an_event(message)]) == 200
    work()
    message.refresh_from_db()
    assert (message.status, message.blocked_reason, message.provider_id) == (Status.SENT, "", "abc-_1")


@pytest.mark.parametrize(
    ("address", "kind", "code", "cause"),
    [
        ("bounce@example.org", "bounce", "5.1.1", "Invalid Address"),
        ("drop@example.org", "dropped", "5.0.0", "Bounced Address"),
    ],
)
def test_what_does_not_arrive_is_seen_and_never_sent_again(
    world: "World", message: Message, address: str, kind: str, code: str, cause: str
) -> None:
    Message.objects.update(recipient=address)
    work()
    wait_until(lambda: kind in kinds(message))
    work()
    event = MailEvent.objects.get(message=message, kind=kind)
    assert (event.code, event.cause) == (code, cause)
    assert Message.objects.get().status == Status.SENT
    assert accepted(world, message) == 1
    assert address not in str(MailEvent.objects.values())


def test_repeated_events_are_kept_once_whatever_their_id(world: "World", message: Message) -> None:
    world.sandbox.add_fault("webhook.sendgrid", "duplicate_event")
    work()
    wait_until(lambda: "delivered" in kinds(message))
    again = MailEvent.objects.get(message=message, kind="processed")
    repeated = an_event(message, "processed", timestamp=int(again.happened_at.timestamp()))
    assert world.tell_mail([repeated, repeated, {**repeated, "sg_event_id": "another"}]) == 200
    assert kinds(message) == ["processed", "delivered"]


def test_one_bad_event_keeps_nobody_from_hearing_the_others(world: "World", message: Message) -> None:
    good = an_event(message)
    batch = [
        7,
        None,
        {},
        {**good, "event": 1},
        {**good, "event": "delivered\n"},
        {**good, "event": "x" * 33},
        {**good, "timestamp": "yesterday"},
        {**good, "timestamp": 2**40},
        {**good, "message_id": "another system's"},
        {**good, "message_id": {"a": 1}},
        {**good, "message_id": str(uuid.uuid4())},
        {
            **good,
            "event": "bounce",
            "status": None,
            "reason": "550 <ada@example.org>: no such user",
            "sg_message_id": 5,
        },
        good,
    ]
    assert world.tell_mail(batch) == 200
    assert kinds(message) == ["bounce", "delivered"]
    assert MailEvent.objects.get(kind="bounce").cause == ""  # free text is not kept


def test_forged_stale_and_malformed_ones_leave_no_row(
    world: "World", message: Message, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    event = [an_event(message)]
    body = json.dumps(event).encode()
    key = private_key(world.sandbox)
    good = signed_by_mail(body, key)
    assert world.post("sendgrid", body, signed_by_mail(body, ec.generate_private_key(ec.SECP256R1()))) == 403
    assert world.post("sendgrid", body + b" ", good) == 403
    assert world.post("sendgrid", body, {}) == 403
    for name in good:
        assert world.post("sendgrid", body, {**good, name: "x"}) == 403
        assert world.post("sendgrid", body, {**good, name: "ü"}) == 403
    assert world.tell_mail(event, age=26 * 3600) == 403
    assert world.tell_mail(event, age=-330) == 403
    for broken in (b"", b"{}", b"null", b"[", b"[" * 100_000, b"\xff"):
        assert world.post("sendgrid", broken, signed_by_mail(broken, key)) in (400, 403), broken
    large = b"[" + b" " * 1024 * 1024 + b"]"
    assert world.post("sendgrid", large, signed_by_mail(large, key)) == 413
    assert not MailEvent.objects.exists()
    settings.SENDGRID_WEBHOOK_PUBLIC_KEY = "not a key"
    assert Client().post("/webhooks/sendgrid/", body, "application/json", headers=good).status_code == 503
    assert "SENDGRID_WEBHOOK_PUBLIC_KEY is no public key" in caplog.text
    assert world.tell_mail(event, age=23 * 3600) == 200  # a batch that was repeated for a day
    assert kinds(message) == ["delivered"]


def test_a_full_batch_is_taken(world: "World", message: Message) -> None:
    events = [an_event(message, timestamp=1_790_000_000 + number) for number in range(2500)]
    assert world.tell_mail(events) == 200
    assert MailEvent.objects.count() == 2500


def test_old_events_of_settled_mails_are_purged(world: "World", message: Message) -> None:
    assert world.tell_mail([an_event(message), an_event(message, "processed")]) == 200
    MailEvent.objects.update(received_at="2020-01-01T00:00:00Z")
    assert mail_events.purge() == 0
    work()
    wait_until(lambda: MailEvent.objects.count() == 4)
    assert mail_events.purge(limit=1) == 1
    assert mail_events.purge() == 1
    assert MailEvent.objects.count() == 2
