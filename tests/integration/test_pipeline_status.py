"""What stands where: the numbers, whom it waits for, and waiting until the store is quiet."""

import io
import json
import threading
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction

from outbox.models import ParkedEvent
from outbox.pipeline import WaitsFor, survey
from outbox.relay import relay_once
from outbox.sweep import sweep
from tests.integration.orders import offer, place
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.django_db(transaction=True)

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def outside(sandbox: SandboxProcess, settings: Any) -> SandboxProcess:
    settings.STRIPE_API_BASE = settings.SENDGRID_API_BASE = sandbox.url
    sandbox.clear_faults()
    return sandbox


def depths() -> dict[str, tuple[int, str]]:
    """Count and whom it waits for, by place and state, of everything that waits for somebody."""
    return {
        f"{each.place}: {each.state}": (each.count, each.waits_for.value)
        for each in survey().depths
        if each.count and each.waits_for is not WaitsFor.NOBODY
    }


def status(*arguments: str) -> tuple[int, Json]:
    """Exit status and the JSON answer of pipeline_status."""
    out = io.StringIO()
    code: Any = 0
    try:
        call_command("pipeline_status", "--json", *arguments, stdout=out)
    except SystemExit as end:
        code = end.code
    return code, json.loads(out.getvalue())


def execute(statement: str) -> None:
    """Against every rule: triggers do not run."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(statement)


def test_an_order_on_its_way_is_seen_where_it_stands() -> None:
    lamp = offer()
    assert depths() == {}
    assert survey().quiet
    place(lamp)
    assert depths() == {
        "outbox: staged": (2, "machine"),
        "payments: unprocessed, resting": (1, "others"),
        "orders: placed": (1, "others"),
    }
    relay_once()
    now = depths()
    assert now["log: behind for order-process"] == (2, "machine")
    assert "outbox: staged" not in now
    sweep(seconds=30)
    assert depths() == {"orders: accepted": (1, "others")}
    assert survey().rates == {
        "InventoryReserved": 1,
        "OrderAccepted": 1,
        "OrderPaid": 1,
        "OrderPlaced": 1,
        "PaymentProcessed": 1,
        "PicklistRequested": 1,
    }


def test_whom_payments_wait_for() -> None:
    lamp, treasure = offer(), offer(price=300_000)
    place(lamp, card="pm_card_visa_chargeDeclined")
    place(lamp, card="pm_card_authenticationRequired")
    place(treasure)
    place(lamp)
    sweep(seconds=30)
    execute(
        "UPDATE payments_payment SET status = 'unknown', settled_at = NULL, blocked_reason = 'look at this' "
        "WHERE status = 'succeeded'"
    )
    assert depths() == {
        "payments: declined, resting": (1, "customer"),
        "payments: requires_action, later": (1, "customer"),
        "payments: unprocessed, resting": (1, "others"),
        "payments: unknown, blocked": (1, "person"),
        "orders: payment_declined": (1, "customer"),
        "orders: action_required": (1, "customer"),
        "orders: under_review": (1, "person"),
        "orders: accepted": (1, "others"),
    }
    assert survey().quiet


def test_due_claimed_and_later(outside: SandboxProcess) -> None:
    place(offer())
    outside.add_fault("payment_intents.create", "rate_limit", times=1)
    sweep(seconds=5)
    (now,) = [each for each in survey().depths if each.place == "payments"]
    assert (now.state, now.waits_for) in {
        ("unprocessed, later", WaitsFor.MACHINE),
        ("unprocessed, due", WaitsFor.MACHINE),
    }
    execute(
        "UPDATE payments_payment SET status = 'processing', token = gen_random_uuid(), claimed_by = 'x', "
        "due_at = now() + interval '1 minute'"
    )
    assert depths()["payments: processing, claimed"] == (1, "machine")
    execute("UPDATE payments_payment SET due_at = now() - interval '1 minute'")
    assert depths()["payments: processing, due"] == (1, "machine")


def test_parked_events_wait_for_whom_their_streams_first_one_waits() -> None:
    place(offer())
    sweep(seconds=30)
    execute(
        "INSERT INTO outbox_parkedevent (subscription_id, position, id, aggregatetype, aggregateid, type, "
        "version, payload, headers, created_at, status, attempts, due_at, error) "
        "SELECT 'messages', position, id, aggregatetype, aggregateid, type, version, payload, headers, created_at, "
        "CASE position WHEN 1 THEN 'waiting' ELSE 'queued' END, 1, NULL, '' FROM outbox_event WHERE position < 4"
    )
    assert depths()["parked: messages, waiting"] == (3, "person")
    assert survey().quiet
    ParkedEvent.objects.filter(position=1).update(status=ParkedEvent.Status.RETRYING, due_at="2026-01-01T00:00Z")
    assert depths()["parked: messages, retrying"] == (3, "machine")
    assert not survey().quiet


def test_a_paused_subscription_waits_for_whoever_paused_it() -> None:
    place(offer())
    execute("UPDATE outbox_subscription SET paused = true")
    sweep(seconds=30)
    assert depths()["log: behind for order-process"] == (2, "person")


def test_waiting_ends_when_the_last_one_has_finished() -> None:
    for _ in range(5):
        place(offer())
    code, answer = status("--wait-quiet", "1")
    assert code == 1
    assert answer["quiet"] is False
    worker = threading.Thread(target=_work_elsewhere)
    worker.start()
    try:
        code, answer = status("--wait-quiet", "30")
    finally:
        worker.join()
    assert code == 0
    assert answer["quiet"] is True
    assert depths() == {"orders: accepted": (5, "others")}


def _work_elsewhere() -> None:
    try:
        sweep(seconds=30)
    finally:
        connection.close()


def test_what_is_still_open_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    place(offer())
    with pytest.raises(SystemExit):
        call_command("pipeline_status", "--wait-quiet", "1")
    shown = capsys.readouterr().out
    assert "Not quiet after 1 s" in shown
    assert "staged" in shown
    assert "accepted" not in shown


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    place(offer())
    sweep(seconds=30)
    call_command("pipeline_status")
    shown = capsys.readouterr().out
    assert "behind for order-process" in shown
    assert "sweep" in shown
    assert "1 OrderAccepted" in shown


def test_a_survey_is_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What moves on while it is read is neither missed nor counted twice."""
    from outbox import pipeline

    def move() -> list[pipeline.Depth]:
        worker = threading.Thread(target=_work_elsewhere)
        worker.start()
        worker.join()
        return []

    place(offer())
    before = depths()
    first, *others = pipeline._parts
    monkeypatch.setattr(pipeline, "_parts", [first, move, *others])
    assert depths() == before
    monkeypatch.undo()
    assert depths() == {"orders: accepted": (1, "others")}
