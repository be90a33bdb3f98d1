"""Reconciliation: the bank's books against ours, and the worst day."""

import datetime as dt
import json
import uuid
from typing import TYPE_CHECKING

import pytest
import stripe
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.models.functions import Now

from outbox import decisions, questions
from outbox.models import Decision
from payments import reconciliation
from payments.models import Difference, Payment, PaymentAttempt, Refund
from payments.reconciliation import reconcile
from tests.integration.payments.reconciling import ask, kinds, settled, work_refunds
from tests.threads import together

if TYPE_CHECKING:
    from tests.integration.payments.scene import Scene

Kind = Difference.Kind


def test_equal_books_differ_in_nothing(scene: "Scene", bank: stripe.StripeClient) -> None:
    payments = [scene.payment(amount=2000 + n) for n in range(3)]
    scene.payment(card="pm_card_visa_chargeDeclined")
    scene.work()
    ask(scene.fresh(payments[0]), 500)
    work_refunds()
    settled()
    report = reconcile()
    assert (report.intents, report.refunds, report.nudged, report.open) == (4, 1, 0, 0)
    assert kinds() == []


def test_a_charge_that_we_missed_is_healed_by_a_nudge(scene: "Scene", bank: stripe.StripeClient) -> None:
    payment = scene.payment()
    scene.sandbox.add_fault("payment_intents.confirm", "drop_after", times=1)
    scene.work()
    Payment.objects.update(due_at=Now() + dt.timedelta(days=1))
    settled()
    report = reconcile()
    assert (report.nudged, report.open) == (1, 0)
    assert Difference.objects.get().healing
    assert scene.fresh(payment).status == Payment.Status.UNKNOWN, "a nudge writes no status"
    scene.work()
    assert scene.fresh(payment).status == Payment.Status.SUCCEEDED
    settled()
    assert reconcile().resolved == 1
    assert kinds() == []


def test_what_a_nudge_does_not_heal_waits_for_a_person(scene: "Scene", bank: stripe.StripeClient) -> None:
    payment = scene.payment()
    scene.sandbox.add_fault("payment_intents.confirm", "drop_after", times=1)
    scene.work()
    settled()
    reconcile()
    Payment.objects.update(due_at=Now() + dt.timedelta(days=1))  # no worker runs
    assert reconcile().open == 1
    (found,) = Difference.objects.all()
    assert (found.kind, found.order_id, found.payment) == (Kind.CHARGED_NOT_PAID, payment.order_id, payment)


def test_paid_here_and_not_there(scene: "Scene", bank: stripe.StripeClient) -> None:
    payment = scene.payment()
    scene.work()
    Payment.objects.update(intent_id="pi_never")
    settled()
    reconcile()
    # Its own intent is now a second one.
    assert kinds() == [Kind.PAID_NOT_CHARGED, Kind.TWO_INTENTS]
    assert set(Difference.objects.values_list("payment_id", flat=True)) == {payment.pk}


def test_amounts_and_refunds_that_differ(scene: "Scene", bank: stripe.StripeClient) -> None:
    one, two, three = (scene.payment(amount=5000) for _ in range(3))
    scene.work()
    Payment.objects.filter(pk=one.pk).update(amount=4000)
    bank.v1.refunds.create({"payment_intent": scene.fresh(two).intent_id, "amount": 700})
    ours = ask(scene.fresh(three), 900)
    lost = ask(scene.fresh(three), 800, "u")
    work_refunds()
    Refund.objects.filter(pk=ours.pk).update(amount=901)
    Refund.objects.filter(pk=lost.pk).update(refund_id="re_never", public_id=uuid.uuid4())
    settled()
    assert reconcile().open == 5
    assert kinds() == [
        Kind.INTENT_DIFFERS,
        Kind.REFUND_DIFFERS,
        Kind.REFUND_NOT_AT_BANK,
        Kind.REFUND_WITHOUT_ROW,  # made by hand
        Kind.REFUND_WITHOUT_ROW,  # the one whose row points elsewhere
    ]


def test_a_second_intent_of_one_payment(scene: "Scene", bank: stripe.StripeClient) -> None:
    payment = scene.payment()
    scene.work()
    other = bank.v1.payment_intents.create(
        {"amount": 1250, "currency": "eur", "metadata": {"payment": str(payment.public_id)}}
    )
    settled()
    assert reconcile().found == [], "an unconfirmed one moves no money"
    bank.v1.payment_intents.confirm(other.id, {"payment_method": "pm_card_visa", "return_url": "http://x.example"})
    reconcile()
    (found,) = Difference.objects.all()
    assert (found.kind, found.about) == (Kind.TWO_INTENTS, other.id)


def test_two_at_once_and_a_persons_word(scene: "Scene", bank: stripe.StripeClient) -> None:
    for _ in range(3):
        bank.v1.refunds.create({"payment_intent": _charged_elsewhere(scene), "amount": 100})
    settled()
    together(*[lambda: reconcile() for _ in range(4)])
    assert kinds() == [Kind.REFUND_WITHOUT_ROW] * 3
    first = Difference.objects.order_by("id")[0]
    questions.take(first, actor="operator:olga", reason="I made it")
    questions.resolve(first, actor="operator:olga", reason="by hand, for a friend")
    assert [each.kind for each in Decision.objects.order_by("id")] == ["take", "resolve"]
    with pytest.raises(questions.Resolved):
        questions.take(first, actor="operator:omar", reason="mine")
    assert reconcile().open == 2, "what a person has resolved stays resolved"
    assert decisions.about(first).count() == 2


def _charged_elsewhere(scene: "Scene") -> str:
    payment = scene.payment()
    scene.work()
    return scene.fresh(payment).intent_id


def test_a_bank_that_does_not_answer_proves_nothing(scene: "Scene", bank: stripe.StripeClient) -> None:
    scene.payment()
    scene.work()
    settled()
    scene.sandbox.add_fault("payment_intents.list", "error_500_before")
    with pytest.raises(ConnectionError):
        reconcile()
    assert reconciliation.reconcile_recent() == 0
    with pytest.raises(CommandError, match="Nothing was concluded"):
        call_command("reconcile_payments")
    assert not Difference.objects.exists()


def test_the_command_says_what_waits(
    scene: "Scene", bank: stripe.StripeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    bank.v1.refunds.create({"payment_intent": _charged_elsewhere(scene), "amount": 100})
    settled()
    with pytest.raises(SystemExit) as ended:
        call_command("reconcile_payments", "--json")
    assert ended.value.code == 1
    said = json.loads(capsys.readouterr().out)
    assert [each["kind"] for each in said["differences"]] == ["refund_without_row"]


# --- the worst day ----------------------------------------------------------------------------------

TABLES = ("payments_payment", "payments_refund", "payments_paymentattempt", "outbox_outboxrecord")


def backup() -> None:
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"CREATE TABLE kept_{table} AS TABLE {table}")


def restore() -> None:
    """The tables as they were, and their numbering too."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # a restore fires no triggers
        for table in TABLES:
            cursor.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
            cursor.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM kept_{table}")  # noqa: S608
            cursor.execute(f"DROP TABLE kept_{table}")
        cursor.execute("SELECT setval(pg_get_serial_sequence('payments_payment', 'id'), max(id)) FROM payments_payment")


def test_the_database_is_restored_and_the_bank_is_ahead(scene: "Scene", bank: stripe.StripeClient) -> None:
    paid, unpaid, unreleased, created = (
        scene.payment(amount=3000),
        scene.payment(amount=3100),
        scene.payment(amount=3200, released=False),
        scene.payment(amount=3300),
    )
    Payment.objects.exclude(pk=paid.pk).update(due_at=None)
    scene.work()
    early = ask(scene.fresh(paid), 400, "known before")
    Payment.objects.filter(pk=created.pk).update(due_at=Now())
    scene.sandbox.add_fault("payment_intents.confirm", "drop_before", times=1)
    scene.work()
    assert scene.fresh(created).status == Payment.Status.UNKNOWN
    backup()

    # The day goes on: everything is paid, refunded and ordered, and then lost.
    Payment.objects.filter(settled_at__isnull=True).update(due_at=Now())
    lost = [scene.payment(amount=4000 + n) for n in range(2)]
    scene.work(rounds=3)
    work_refunds()
    ask(scene.fresh(paid), 600, "lost")
    work_refunds()
    everything = [paid, unpaid, unreleased, created, *lost]
    assert [scene.charged(each) for each in everything] == [1] * 6
    settled()
    restore()
    assert Payment.objects.count() == 4
    Payment.objects.filter(settled_at__isnull=True).update(due_at=None)

    report = reconcile()
    assert report.adopted >= 3, "two payments and a refund"
    # Then the workers: orders are released again, and everything is due.
    Payment.objects.filter(settled_at__isnull=True).update(due_at=Now())
    scene.work(rounds=3)
    work_refunds()
    scene.make_due()
    work_refunds()
    settled()
    reconcile()

    assert [scene.charged(each) for each in everything] == [1] * 6, "nobody was charged again"
    assert {scene.fresh(each).status for each in (paid, unpaid, unreleased, created)} == {Payment.Status.SUCCEEDED}
    early.refresh_from_db()
    assert early.status == Refund.Status.SUCCEEDED
    at_bank = sorted(each["amount"] for each in scene.sandbox.bank_objects("refund").values())
    assert at_bank == [400, 600], "nothing was refunded again"
    assert kinds() == [Kind.REFUND_WITHOUT_ROW, Kind.UNKNOWN_PAYMENT, Kind.UNKNOWN_PAYMENT]
    shown = Difference.objects.filter(kind=Kind.UNKNOWN_PAYMENT).order_by("order_id")
    assert [(each.order_id, each.amount) for each in shown] == [(each.order_id, each.amount) for each in lost]
    assert not PaymentAttempt.objects.filter(payment=unpaid, phase="create").exists()
