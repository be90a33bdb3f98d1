"""The disputes' books, right and broken on purpose; and how operators see what the providers said."""

import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client

from notifications.models import MailEvent, Message
from outbox.pipeline import WaitsFor, survey
from outbox.sweep import sweep
from outbox.timeline import timeline
from payments.models import BankEvent, Dispute, Payment
from shop.models import Order
from tests.integration.orders import offer, place
from tests.integration.webhooks.senders import an_intent, bank_event
from tests.local.waiting import wait_until
from tests.sandbox_process import SandboxProcess

if TYPE_CHECKING:
    from tests.integration.webhooks.senders import World


@pytest.fixture
def order(world: "World") -> Order:
    """On hold for an open dispute; everything has settled."""
    order = place(offer(), card="pm_card_createDispute").order
    sweep(seconds=30)
    wait_until(lambda: Dispute.objects.exists() and MailEvent.objects.filter(kind="delivered").exists())
    sweep(seconds=30)
    order.refresh_from_db()
    return order


def differences(order: Order, *invariants: str) -> set[tuple[str, str]]:
    """Those about the order: the bank remembers what other tests have forgotten."""
    out = io.StringIO()
    with contextlib.suppress(SystemExit):
        call_command("check_money", "--json", *(f"--invariant={each}" for each in invariants), stdout=out)
    answer = json.loads(out.getvalue())
    assert answer["unreadable"] == []
    return {
        (check["invariant"], difference["what"])
        for check in answer["checks"]
        for difference in check["differences"]
        if difference["order"] == str(order.pk)
    }


def unguarded(statement: str) -> None:
    """As nobody may: the triggers are switched off for the moment."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(statement)


def test_an_open_dispute_is_no_difference(order: Order) -> None:
    assert differences(order, "S7", "Q1", "Q2", "Q3", "Q8") == set()


@pytest.mark.parametrize(
    ("statement", "invariant", "what"),
    [
        ("UPDATE payments_dispute SET amount = amount - 1", "Q1", "a dispute"),
        ("UPDATE payments_dispute SET bank_status = 'won'", "Q1", "a dispute"),
        ("UPDATE payments_dispute SET dispute_id = 'dp_other'", "Q1", "a dispute"),
        ("UPDATE payments_payment SET intent_id = 'pi_other'", "Q1", "a dispute"),
        ("DELETE FROM outbox_event WHERE type = 'DisputeOpened'", "Q3", "events that tell of the transition"),
        (
            "UPDATE payments_dispute SET status = 'closed', closed_at = now(), due_at = NULL",
            "Q3",
            "events that tell of the transition",
        ),
        (
            "UPDATE payments_dispute SET status = 'unread', amount = NULL, opened_at = NULL",
            "Q8",
            "a dispute's status",
        ),
    ],
)
def test_broken_books(order: Order, statement: str, invariant: str, what: str) -> None:
    unguarded(statement)
    assert (invariant, what) in differences(order, invariant)


@pytest.fixture
def hour_later(world: "World", tmp_path: Path, settings: Any) -> Iterator[None]:
    """A bank that opened its disputes an hour ago."""
    data = tmp_path / "outside"
    shutil.copytree(world.sandbox.data, data)
    last = max(line["n"] for line in world.sandbox.ledger())
    disputes = [{**each, "created": each["created"] - 3600} for each in world.sandbox.bank_objects("dispute").values()]
    with (data / "bank.jsonl").open("a") as ledger:
        ledger.write(json.dumps({"n": last + 1, "at": 0, "op": "forged", "objects": disputes}) + "\n")
    with SandboxProcess(data) as bank:
        settings.STRIPE_API_BASE = bank.url
        yield


def test_a_dispute_that_we_do_not_know(order: Order, hour_later: None) -> None:
    assert differences(order, "Q1") == set()
    unguarded("DELETE FROM payments_dispute")
    assert ("Q1", "a dispute at the bank") in differences(order, "Q1")


# --- seen by operators ------------------------------------------------------------------------------


def test_the_pipeline_says_whom_they_wait_for(world: "World", order: Order) -> None:
    assert world.tell(bank_event(about=an_intent())) == 200
    found = {(each.place, each.state): (each.count, each.waits_for) for each in survey().depths}
    assert found["disputes", "open, later"] == (1, WaitsFor.OTHERS)
    assert found["bank events", "waiting"] == (1, WaitsFor.OTHERS)
    BankEvent.objects.filter(status="waiting").update(status="unmatched", due_at=None)
    assert {each.waits_for for each in survey().depths if each.place == "bank events"} == {WaitsFor.PERSON}


def test_the_timeline_tells_what_was_heard(order: Order) -> None:
    told = {(each.source, each.what) for each in timeline(order.pk)}
    assert ("bank event", "charge.dispute.created") in told
    assert ("mail event", "order_confirmed: delivered") in told
    assert not any(each.source in ("bank event", "mail event") for each in timeline(order.pk, public=True))
    assert timeline(order.pk, public=True) == [each for each in timeline(order.pk) if each.public]


def test_operators_look_and_change_nothing(order: Order) -> None:
    client = Client()
    client.force_login(User.objects.create_superuser("olga"))
    for model in (Dispute, BankEvent, MailEvent):
        path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        row = model._default_manager.first()
        assert row is not None
        assert client.get(path).status_code == 200
        page = client.get(f"{path}{row.pk}/change/")
        assert page.status_code == 200
        assert b'name="_save"' not in page.content
        assert client.get(f"{path}add/").status_code == 403
    payment, message = Payment.objects.get(), Message.objects.get()
    assert (
        Dispute.objects.get().dispute_id.encode() in client.get(f"/admin/payments/payment/{payment.pk}/change/").content
    )
    assert b"delivered" in client.get(f"/admin/notifications/message/{message.pk}/change/").content
