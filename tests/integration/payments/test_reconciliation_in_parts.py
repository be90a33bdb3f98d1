"""Reconciliation against the limiter and the clock: it ends in time, goes on where it stopped, and concludes nothing
from what it did not read."""

import datetime as dt
import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import stripe
from django.core.management import call_command
from django.db.models.functions import Now

from payments import reconciliation
from payments.models import Bucket, Difference, ReconciliationCursor
from payments.reconciliation import reconcile
from payments.reconciliation.differences import Report
from tests.integration.payments.reconciling import kinds, settled

if TYPE_CHECKING:
    from tests.integration.payments.scene import Scene

NOW = dt.datetime.now(tz=dt.UTC).replace(microsecond=0)
# Less than two slow pages, and the first share of it less than one.
SLOW, BUDGET = 2.0, 4.5


@pytest.fixture
def lost(scene: "Scene", bank: stripe.StripeClient, settings: Any) -> list[str]:
    """250 charges that the database has lost, one a minute, and before them one that it has; the intents of the 250."""
    settings.PAYMENT_READ_TIMEOUT = settings.PAYMENT_CALL_DEADLINE = 10.0
    scene.payment()
    scene.work()
    (known,) = scene.sandbox.bank_objects("payment_intent").values()
    number = max(line["n"] for line in scene.sandbox.ledger())
    early = known | {"created": _made(300)}
    forged = [
        known
        | {
            "id": f"pi_lost{minute:04}",
            "created": _made(minute),
            "metadata": {"payment": str(uuid.uuid4()), "order_id": str(minute), "reference": f"O-{minute:06}"},
        }
        for minute in range(259, 9, -1)
    ]
    scene.sandbox.stop()
    with (scene.sandbox.data / "bank.jsonl").open("a") as ledger:
        ledger.write(json.dumps({"n": number + 1, "at": 0, "op": "forged", "objects": [early, *forged]}) + "\n")
    scene.sandbox.start()
    settled()
    return [str(each["id"]) for each in forged]


def _made(minutes_ago: int) -> int:
    return int((NOW - dt.timedelta(minutes=minutes_ago)).timestamp())


def difference(about: str, minutes_ago: int) -> Difference:
    """One that is no longer true."""
    return Difference.objects.create(
        kind=Difference.Kind.UNKNOWN_PAYMENT,
        about=about,
        amount=100,
        currency="EUR",
        detail="was so once",
        happened_at=NOW - dt.timedelta(minutes=minutes_ago),
        last_seen=Now() - dt.timedelta(hours=1),
    )


def recently() -> Report:
    return reconcile(since=NOW - dt.timedelta(days=1), seconds=BUDGET)


def test_a_slow_bank_is_read_in_parts(scene: "Scene", lost: list[str]) -> None:
    scene.sandbox.add_fault("payment_intents.list", "delay", seconds=SLOW)
    young, old = difference("pi_young", 30), difference("pi_old", 240)
    shown: list[set[str]] = []
    for number in range(3):
        report = recently()
        shown.append({each.about for each in report.found})
        assert report.cut_off == (number < 2)
        young.refresh_from_db()
        old.refresh_from_db()
        assert young.resolved_at is not None, "what was read is concluded"
        assert (old.resolved_at is not None) == (number == 2), "what was not read is not"
    assert [len(part) for part in shown] == [100, 100, 52], "the second that a run ends in is read again"
    assert set().union(*shown) == set(lost), "all of it, in three runs"
    assert Difference.objects.filter(kind=Difference.Kind.UNKNOWN_PAYMENT, resolved_at=None).count() == 250
    assert not ReconciliationCursor.objects.filter(before__isnull=False).exists()
    scene.sandbox.clear_faults()
    again = reconcile(since=NOW - dt.timedelta(days=1), seconds=60.0)
    assert len(again.found) == 250, "the next one begins with the newest again"
    assert len(kinds()) == 250


def test_refunds_are_read_however_long_the_intents_take(scene: "Scene", lost: list[str]) -> None:
    scene.sandbox.add_fault("payment_intents.list", "delay", seconds=SLOW)
    report = recently()
    assert report.cut_off
    before = dict(ReconciliationCursor.objects.values_list("listing", "before"))
    assert before["refunds"] is None
    assert before["intents"] == NOW - dt.timedelta(minutes=109), "the last of the page's hundred"


def test_a_run_without_time_concludes_nothing(scene: "Scene", lost: list[str]) -> None:
    old = difference("pi_old", 30)
    report = reconcile(seconds=0.0)
    assert (report.pages, report.cut_off, report.found) == (0, True, [])
    old.refresh_from_db()
    assert old.resolved_at is None
    assert reconcile().resolved == 1


def test_what_was_not_asked_for_in_time_stays_open(scene: "Scene", bank: stripe.StripeClient, settings: Any) -> None:
    payment = scene.payment()
    scene.work()
    type(payment).objects.update(intent_id="pi_never")
    settled()
    reconcile()
    assert Difference.Kind.PAID_NOT_CHARGED in kinds()
    settings.PAYMENT_READ_TIMEOUT = settings.PAYMENT_CALL_DEADLINE = 10.0
    scene.sandbox.add_fault("payment_intents.list", "delay", seconds=SLOW)
    assert reconcile(seconds=BUDGET).resolved == 0, "its list was read, and no time was left to ask for it"
    assert Difference.Kind.PAID_NOT_CHARGED in kinds()


def test_the_scheduler_would_have_let_it_live(settings: Any) -> None:
    assert settings.Q_CLUSTER["timeout"] >= reconciliation.BUDGET + 2 * settings.PAYMENT_CALL_DEADLINE


def test_one_call_takes_one_token(scene: "Scene", bank: stripe.StripeClient, settings: Any) -> None:
    scene.payment()
    scene.work()
    settled()
    settings.PAYMENT_CALLS_PER_SECOND, settings.PAYMENT_CALL_BURST = 0.001, 2
    Bucket.objects.update(tokens=2, rate=0.001, filled_at=Now())
    reconcile()
    assert int(Bucket.objects.get().tokens) == 0, "one page of intents, and the empty one of refunds"


def test_the_command_shows_its_pages(lost: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int]] = []
    reconcile(progress=lambda report: seen.append((report.pages, report.intents)))
    assert seen == [(1, 100), (2, 200), (3, 251)]
    with pytest.raises(SystemExit):
        call_command("reconcile_payments", "--json")
    said = json.loads(capsys.readouterr().out)
    assert (said["pages"], said["intents"], said["undecided"]) == (3, 251, 0)
    assert said["differences"][0]["reference"] == "O-000010"
    assert "charge ch_" in said["differences"][0]["detail"]
