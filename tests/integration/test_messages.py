"""From an event to a mail in the provider's mailbox: once, or in doubt, but never twice on a guess."""

import datetime as dt
import itertools
import os
import signal
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from django.contrib.auth.models import User
from django.db import DatabaseError, IntegrityError, transaction
from django.db.models.functions import Now
from django.test import Client

from notifications import services
from notifications.models import Message, MessageAttempt
from notifications.worker import make_engine
from outbox import claims, subscriptions
from outbox.dispatcher import dispatch_once
from outbox.events import DomainEvent
from outbox.models import Decision
from outbox.publisher import publish
from outbox.relay import relay_once
from payments.events import PaymentDeclined, RefundProcessed
from shop.events import InventoryUnavailable, Line, OrderAccepted, OrderCancelled, OrderShipped
from shop.models import Order, Product, ShippingMethod, Stock
from shop.services import CartLine, Contact, place_order
from tests.database_url import database_url
from tests.sandbox_process import SandboxProcess
from tests.threads import together

pytestmark = pytest.mark.django_db(transaction=True)

Status = Message.Status
_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def provider(sandbox: SandboxProcess, settings: Any) -> Iterator[SandboxProcess]:
    settings.SENDGRID_API_BASE = sandbox.url
    settings.MAIL_TIMEOUT = 1.0
    sandbox.clear_faults()
    yield sandbox
    sandbox.clear_faults()


def place(*, name: str = "Ada Lovelace") -> Order:
    number = next(_numbers)
    product = Product.objects.create(slug=f"lamp-{number}", name=f"Lamp {number}", category="Light", price=2000)
    Stock.objects.create(product=product, on_hand=10)
    shipping, _ = ShippingMethod.objects.get_or_create(
        code="standard", defaults={"name": "Standard", "price": 490, "days": "2–3 days"}
    )
    contact = Contact(
        name=name,
        email=f"ada+{number}@example.org",
        address="Am Sandtorkai 1",
        postal_code="20457",
        city="Hamburg",
        country="DE",
    )
    return place_order(
        checkout_token=uuid.uuid4(),
        lines=[CartLine(product_id=product.pk, quantity=2)],
        contact=contact,
        shipping_code=shipping.code,
        payment_method="pm_card_visa",
        expected_total=4490,
    ).order


def report(*events: DomainEvent) -> None:
    """Publish the events and let the handler see them."""
    with transaction.atomic():
        publish(*events)
    while relay_once():
        pass
    while dispatch_once("messages"):
        pass


def confirmation(**contact: str) -> Message:
    """A pending mail "your order is confirmed"."""
    order = place(**contact)
    report(OrderAccepted(order_id=order.pk))
    return Message.objects.get(order_id=order.pk)


def work() -> None:
    engine = make_engine()
    try:
        engine.run_until_idle(seconds=20)
    finally:
        engine.close()


def time_passes(**of_doubt: int) -> None:
    """Every backoff and every lease is over, and doubts are so much older."""
    Message.objects.filter(due_at__isnull=False).update(due_at=Now() - dt.timedelta(seconds=1))
    doubtful = Message.objects.filter(status=Status.AMBIGUOUS)
    doubtful.update(ambiguous_at=Now() - dt.timedelta(**of_doubt))


def outcomes(message: Message) -> list[str]:
    return list(MessageAttempt.objects.filter(message=message).order_by("id").values_list("outcome", flat=True))


def mails(provider: SandboxProcess, message: Message) -> list[dict[str, Any]]:
    """The accepted mails of the message in the provider's own ledger file."""
    return [
        line["mail"]
        for line in provider.ledger(book="mail")
        if line.get("status") == 202
        and line["mail"]["personalizations"][0]["custom_args"]["message_id"] == str(message.public_id)
    ]


@pytest.mark.parametrize(
    ("paid", "refund_issued", "says"),
    [
        (False, False, "You have not been charged."),
        (True, True, "Your payment goes back to you"),
        (True, False, "Your bank has the payment in dispute"),
    ],
)
def test_a_cancellation_says_truly_what_becomes_of_the_money(paid: bool, refund_issued: bool, says: str) -> None:
    order = place()
    Order.objects.filter(pk=order.pk).update(process={"paid": paid, "disputed": paid and not refund_issued})
    report(OrderCancelled(order_id=order.pk, cancelled_by="system", reason="x", refund_issued=refund_issued))
    assert says in Message.objects.get(template="order_cancelled").text


def test_an_accepted_order_gets_one_mail(provider: SandboxProcess) -> None:
    message = confirmation()
    order = Order.objects.get(pk=message.order_id)
    assert (message.status, message.template, message.recipient) == ("pending", "order_confirmed", order.email)
    assert message.headers["causation_id"] == str(message.event_id)
    work()
    message.refresh_from_db()
    assert message.status == Status.SENT
    assert message.sent_at is not None
    (mail,) = mails(provider, message)
    assert mail["subject"] == f"Your order {order.number} is confirmed"
    assert [part["value"] for part in mail["content"]] == [message.text, message.html]
    assert configured.STORE_ADDRESS + order.get_absolute_url() in message.text
    assert "€44.90" in message.text
    (attempt,) = MessageAttempt.objects.filter(message=message)
    assert (attempt.outcome, attempt.http_status, attempt.claim_lost) == ("accepted", 202, False)
    assert attempt.provider_id == message.provider_id != ""


def test_the_same_event_again_writes_nothing(provider: SandboxProcess) -> None:
    message = confirmation()
    work()
    subscriptions.replay(name="messages", position=1, actor="test", reason="again")
    while dispatch_once("messages"):
        pass
    report(OrderAccepted(order_id=message.order_id))  # another event, and still the one mail of its order
    work()
    assert Message.objects.get().status == Status.SENT
    assert len(mails(provider, message)) == 1


def test_each_event_has_its_mail_and_an_order_ends_once() -> None:
    order = place()
    declined: dict[str, Any] = {
        "order_id": order.pk,
        "payment_id": "p",
        "amount": order.total,
        "currency": "EUR",
        "code": "x",
    }
    refund: dict[str, Any] = {"order_id": order.pk, "payment_id": "p", "currency": "EUR", "reason": "asked"}
    product = order.lines.get().product_id
    report(
        PaymentDeclined(**declined, card_no=1),
        PaymentDeclined(**declined, card_no=2),
        OrderShipped(order_id=order.pk, carrier="DHL", tracking="0034"),
        InventoryUnavailable(order_id=order.pk, lines=(Line(product_id=product, quantity=2),)),
        OrderCancelled(order_id=order.pk, cancelled_by="system", reason="sold_out", refund_issued=False),
        RefundProcessed(**refund, amount=1000, refund_id="a"),
        RefundProcessed(**refund, amount=3490, refund_id="b"),
    )
    assert Counter(Message.objects.values_list("template", flat=True)) == {
        "payment_declined": 2,
        "order_shipped": 1,
        "order_cancelled": 1,
        "order_refunded": 2,
    }
    assert "Sold out: Lamp" in Message.objects.get(template="order_cancelled").text
    assert {subject.split()[0] for subject in Message.objects.values_list("subject", flat=True)} == {
        *("Your", "€10.00", "€34.90")
    }


def test_a_refused_connection_is_tried_again_and_sends_once(provider: SandboxProcess) -> None:
    rule = provider.add_fault("mail", "down")
    message = confirmation()
    work()
    message.refresh_from_db()
    assert (message.status, message.attempts, outcomes(message)) == (Status.PENDING, 1, ["not_sent"])
    assert message.due_at is not None
    time_passes()
    work()
    provider.remove_fault(rule)
    time_passes()
    work()
    message.refresh_from_db()
    assert (message.status, outcomes(message)) == (Status.SENT, ["not_sent", "not_sent", "accepted"])
    assert len(mails(provider, message)) == 1


@pytest.mark.parametrize("fault", ["drop_after", "reset", "error_500_after", "delay_answer"])
def test_an_answer_lost_after_acceptance_is_never_sent_again(provider: SandboxProcess, fault: str) -> None:
    provider.add_fault("mail.send", fault, times=1, seconds=5)
    message = confirmation()
    work()
    message.refresh_from_db()
    assert (message.status, outcomes(message)) == (Status.AMBIGUOUS, ["ambiguous"])
    time_passes(hours=23)
    work()
    message.refresh_from_db()
    assert (message.status, message.blocked_reason) == (Status.AMBIGUOUS, "")
    time_passes(hours=24)
    work()
    message.refresh_from_db()
    assert message.status == Status.AMBIGUOUS
    assert "confirm or resend" in message.blocked_reason
    assert message.due_at is None
    assert len(mails(provider, message)) == 1


def test_too_many_requests_waits_as_long_as_asked(provider: SandboxProcess) -> None:
    provider.add_fault("mail.send", "rate_limit", times=1)
    message = confirmation()
    work()
    message.refresh_from_db()
    assert (message.status, outcomes(message)) == (Status.PENDING, ["not_sent"])
    assert message.due_at is not None
    closed = MessageAttempt.objects.get()
    assert closed.finished_at is not None
    assert message.due_at - closed.finished_at > dt.timedelta(seconds=0.9)
    time_passes()
    work()
    assert len(mails(provider, message)) == 1


def test_a_refused_mail_has_failed_and_says_why(provider: SandboxProcess) -> None:
    message = confirmation()
    Message.objects.update(recipient="nobody")
    work()
    message.refresh_from_db()
    assert (message.status, outcomes(message)) == (Status.FAILED, ["refused"])
    attempt = MessageAttempt.objects.get()
    assert (attempt.http_status, "valid address" in attempt.detail) == (400, True)
    services.resend(message_id=message.public_id, actor="operator:eve", reason="address corrected")
    Message.objects.update(recipient="somebody@example.org")
    work()
    message.refresh_from_db()
    assert message.status == Status.SENT
    assert Decision.objects.get().before == "failed"


def test_a_wrong_key_is_nobody_s_fault(provider: SandboxProcess, settings: Any) -> None:
    settings.SENDGRID_API_KEY = "wrong"
    message, other = confirmation(), confirmation()
    engine = make_engine(in_flight=1)
    engine.run_until_idle(seconds=5)
    engine.close()
    message.refresh_from_db()
    assert (message.status, message.attempts, outcomes(message)) == (Status.PENDING, 0, ["misconfigured"])
    assert outcomes(other) == []  # one refusal was enough for this worker
    settings.SENDGRID_API_KEY = "SG.right"
    time_passes()
    work()
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}


@pytest.mark.parametrize(("point", "accepted"), [("E1", 0), ("E2", None), ("E3", 1)])
def test_a_worker_that_dies_leaves_a_doubt(provider: SandboxProcess, point: str, accepted: int | None) -> None:
    message = confirmation()
    assert _send_messages(provider, crash_point=point) == -signal.SIGKILL
    message.refresh_from_db()
    assert message.status == Status.SENDING
    assert MessageAttempt.objects.get().finished_at is None
    work()  # its lease still runs
    assert Message.objects.get().status == Status.SENDING
    time_passes()
    work()
    message.refresh_from_db()
    assert (message.status, outcomes(message)) == (Status.AMBIGUOUS, [""])
    time_passes(hours=1)
    work()
    assert Message.objects.get().status == Status.AMBIGUOUS
    sent = len(mails(provider, message))
    assert sent <= 1 if accepted is None else sent == accepted


def test_a_worker_that_dies_after_recording_has_sent_its_mail(provider: SandboxProcess) -> None:
    message = confirmation()
    assert _send_messages(provider, crash_point="E4") == -signal.SIGKILL
    work()
    message.refresh_from_db()
    assert (message.status, len(mails(provider, message))) == (Status.SENT, 1)


def _send_messages(provider: SandboxProcess, **extra: str) -> int:
    """`manage.py send_messages` as a process of its own, on the tests' database; its exit code."""
    environment = {
        **os.environ,
        "DATABASE_URL": database_url(),
        "SENDGRID_API_BASE": provider.url,
        **{name.upper(): value for name, value in extra.items()},
    }
    root = Path(__file__).parents[2]
    command = [sys.executable, "manage.py", "send_messages"]
    return subprocess.run(command, cwd=root, env=environment, timeout=60, check=False).returncode


def test_the_command_sends_what_is_due(provider: SandboxProcess) -> None:
    messages = [confirmation() for _ in range(3)]
    assert _send_messages(provider) == 0
    assert [len(mails(provider, message)) for message in messages] == [1, 1, 1]


def test_a_late_answer_settles_the_doubt_that_its_lease_left(provider: SandboxProcess) -> None:
    message = confirmation()
    slow = make_engine(in_flight=1)
    provider.add_fault("mail.send", "delay_answer", times=1, seconds=0.5)
    slow.run_once()  # claimed, the call is under way
    time_passes()  # … and takes longer than its lease
    work()
    message.refresh_from_db()
    assert message.status == Status.AMBIGUOUS
    slow.close()
    assert MessageAttempt.objects.get().claim_lost
    work()
    message.refresh_from_db()
    assert (message.status, outcomes(message)) == (Status.SENT, ["accepted"])
    assert message.provider_id
    assert len(mails(provider, message)) == 1


def test_several_workers_send_each_mail_once(provider: SandboxProcess) -> None:
    messages = [confirmation() for _ in range(12)]
    together(work, work, work)
    assert set(Message.objects.values_list("status", flat=True)) == {Status.SENT}
    assert [len(mails(provider, message)) for message in messages] == [1] * 12
    assert MessageAttempt.objects.count() == 12


def test_a_hostile_name_arrives_whole(provider: SandboxProcess) -> None:
    message = confirmation(name="Ada\r\nBcc: all@example.com <script>alert(1)</script> 👩‍👩‍👧‍👦 \u202eעדה")
    work()
    (mail,) = mails(provider, message)
    name = "Ada Bcc: all@example.com <script>alert(1)</script> 👩‍👩‍👧‍👦 \u202eעדה"
    (to,) = mail["personalizations"][0]["to"]
    assert to == {"email": message.recipient, "name": name}
    text, html = (part["value"] for part in mail["content"])
    assert f"Hello {name}," in text
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_a_person_decides_with_a_reason_or_not_at_all(provider: SandboxProcess) -> None:
    message = confirmation()
    decide: dict[str, Any] = {"message_id": message.public_id, "actor": "operator:eve"}
    with pytest.raises(services.NotUndecided, match="pending"):
        services.resend(**decide, reason="impatient")
    provider.add_fault("mail.send", "drop_before", times=2)
    work()
    with pytest.raises(ValueError, match="reason"):
        services.resend(**decide, reason=" ")
    assert Decision.objects.count() == 0
    services.resend(**decide, reason="the customer has no mail")
    work()
    assert outcomes(message) == ["ambiguous", "ambiguous"]
    services.confirm(**decide, reason="the provider's activity shows it")
    message.refresh_from_db()
    assert message.status == Status.SENT
    with pytest.raises(services.NotUndecided, match="sent"):
        services.resend(**decide, reason="again")
    assert mails(provider, message) == []


def test_the_journal_is_closed_once_and_kept() -> None:
    confirmation()
    work()
    for change in (
        lambda: MessageAttempt.objects.update(outcome="refused"),
        lambda: MessageAttempt.objects.all().delete(),
    ):
        with pytest.raises(DatabaseError, match="closed once"), transaction.atomic():
            change()


@pytest.mark.parametrize(
    "change",
    [
        {"status": "sent"},
        {"status": "sending"},
        {"status": "ambiguous"},
        {"due_at": None},
        {"status": "failed"},
    ],
)
def test_the_database_refuses_states_that_make_no_sense(change: dict[str, Any]) -> None:
    confirmation()
    with pytest.raises(IntegrityError), transaction.atomic():
        Message.objects.update(**change)


def test_a_nudge_looks_again_and_changes_nothing(provider: SandboxProcess) -> None:
    provider.add_fault("mail.send", "drop_after", times=1)
    message = confirmation()
    work()
    claims.nudge(Message.objects.filter(pk=message.pk))
    work()
    message.refresh_from_db()
    assert (message.status, message.blocked_reason, len(mails(provider, message))) == (Status.AMBIGUOUS, "", 1)


def test_operators_find_a_mail_by_its_order_and_read_it(client: Client, settings: Any, tmp_path: Path) -> None:
    settings.STATIC_ROOT = tmp_path
    message, other = confirmation(), confirmation()
    work()
    client.force_login(User.objects.create_superuser("eve", password="x"))
    page = client.get("/admin/notifications/message/", {"q": message.order_number}).content.decode()
    assert message.recipient in page
    assert other.recipient not in page
    detail = client.get(f"/admin/notifications/message/{message.pk}/change/").content.decode()
    assert "Thank you: your payment" in detail
    assert message.provider_id in detail
    assert 'name="_save"' not in detail
