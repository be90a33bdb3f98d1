"""export_unsettled: everything a telephone call to the bank needs, complete or not at all."""

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from payments import refunds
from payments.models import Payment, Refund

if TYPE_CHECKING:
    from tests.integration.payments.scene import Scene


def exported() -> list[dict[str, str]]:
    out = io.StringIO()
    call_command("export_unsettled", stdout=out)
    return list(csv.DictReader(io.StringIO(out.getvalue(), newline="")))


def test_every_unsettled_payment_with_the_banks_last_word(scene: "Scene") -> None:
    paid, declined, waiting = (
        scene.payment(),
        scene.payment(card="pm_card_visa_chargeDeclinedInsufficientFunds", amount=2001),
        scene.payment(released=False),
    )
    scene.work()
    rows = exported()
    assert [row["our payment id"] for row in rows] == [str(declined.public_id), str(waiting.public_id)]
    assert scene.fresh(paid).status == Payment.Status.SUCCEEDED
    first, second = rows
    fresh = scene.fresh(declined)
    assert first["order"] == declined.reference
    assert (first["kind"], first["status"], first["asked by"]) == ("payment", "declined", "customer")
    assert (first["minor units"], first["amount"], first["currency"]) == ("2001", "€20.01", "EUR")
    assert first["bank's payment id"] == fresh.intent_id != ""
    assert (first["last call"], first["outcome"], first["code"]) == ("confirm", "declined", "card_declined")
    assert first["decline code"] == "insufficient_funds"
    assert first["request id"].startswith("req_")
    assert first["attempts"] == "1"
    assert float(first["age in hours"]) == 0.0
    assert (second["last call"], second["request id"], second["attempts"]) == ("", "", "0")


def test_a_refund_with_who_asked_and_why_it_is_blocked(scene: "Scene") -> None:
    payment = scene.payment(amount=5000)
    scene.work()
    refunds.request_refund(
        order_id=payment.order_id,
        amount=100,
        reason="broken",
        request_token="t-1",
        actor="=cmd|' /C calc'!A1",
        by_person=True,
    )
    with connection.cursor() as cursor:
        cursor.execute("UPDATE payments_refund SET due_at = NULL, blocked_reason = '-2+3 look here'")
    (row,) = exported()
    assert (row["kind"], row["order"]) == ("refund", payment.reference)
    assert row["our refund id"] == str(Refund.objects.get().public_id)
    assert row["bank's charge id"] == scene.fresh(payment).latest_charge
    assert row["asked by"] == "'=cmd|' /C calc'!A1", "a spreadsheet would run it"
    assert row["blocked because"] == "'-2+3 look here"


def test_a_file_is_complete_or_as_it_was(scene: "Scene", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.payment(released=False)
    file = tmp_path / "unsettled.csv"
    call_command("export_unsettled", "--output", str(file))
    before = file.read_bytes()
    assert before.startswith(b"\xef\xbb\xbfkind,order,")
    assert before.count(b"\r\n") == 2
    assert file.stat().st_mode & 0o077 == 0
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE payments_refund RENAME TO away")
    try:
        with pytest.raises(CommandError, match="database could not be used"):
            call_command("export_unsettled", "--output", str(file))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE away RENAME TO payments_refund")
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file], "nothing is left beside it"


def test_many_rows_come_once_each(scene: "Scene", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("payments.unsettled._BATCH", 2)
    made = [str(scene.payment(released=False).public_id) for _ in range(5)]
    assert [row["our payment id"] for row in exported()] == made
