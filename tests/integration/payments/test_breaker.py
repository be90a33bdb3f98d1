"""The breaker: what waits, what goes on, who finds out that the bank is back."""

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from payments import breaker, refunds, services
from payments.breaker import Prober, trouble
from payments.models import Breaker, Payment, PaymentAttempt, Refund
from payments.refund_worker import make_engine as make_refund_engine
from payments.worker import make_engine
from shop import intake
from tests.threads import together

if TYPE_CHECKING:
    from tests.integration.payments.scene import Scene

Status = Payment.Status
LONG_AGO = dt.timedelta(seconds=30)


def row() -> Breaker:
    return Breaker.objects.get(gateway=breaker.GATEWAY)


def workers(count: int, *, seconds: float = 20) -> None:
    """So many workers at once, each with its own connection, until nothing is due."""

    def one() -> None:
        engine = make_engine(in_flight=4)
        try:
            engine.run_until_idle(seconds=seconds)
        finally:
            engine.close()

    together(*[one] * count)


def work_refunds() -> None:
    engine = make_refund_engine()
    try:
        engine.run_until_idle(seconds=20)
    finally:
        engine.close()


def pause_is_over(*, ago: dt.timedelta = dt.timedelta(0)) -> None:
    Breaker.objects.update(retry_at=Now() - ago)


def test_a_storm_of_500_opens_it_and_a_probe_closes_it(scene: "Scene") -> None:
    payments = [scene.payment(amount=1000 + number) for number in range(40)]
    scene.sandbox.add_fault("bank", "error_500_before")
    workers(3)
    opened = row()
    assert opened.status == Breaker.Status.OPEN
    assert "calls failed" in opened.reason
    # Far fewer than all were tried, and those that were not are as they were: unclaimed, due and without a try.
    untried = Payment.objects.filter(status=Status.UNPROCESSED, attempts=0, due_at__lte=Now(), token=None)
    assert untried.count() >= 20
    tried = PaymentAttempt.objects.count()
    workers(2)
    assert PaymentAttempt.objects.filter(phase__in=breaker.MONEY).count() == tried

    pause_is_over()
    workers(3)
    assert PaymentAttempt.objects.filter(phase__in=breaker.MONEY).count() == tried + 1, "one probe"
    again = row()
    assert (again.status, again.pauses, again.open_since) == ("open", 2, opened.open_since)
    assert again.retry_at is not None
    assert again.retry_at > again.changed_at

    scene.sandbox.clear_faults()
    scene.make_due()
    workers(3)
    for _ in range(3):
        scene.make_due()
        workers(1)
    assert row().status == Breaker.Status.CLOSED
    assert row().open_since is None
    assert {scene.fresh(each).status for each in payments} == {Status.SUCCEEDED}
    assert [scene.charged(each) for each in payments] == [1] * 40


def test_a_bad_key_opens_it_at_once_and_changes_no_row(scene: "Scene", settings: Any) -> None:
    payments = [scene.payment() for _ in range(30)]
    right = settings.STRIPE_SECRET_KEY
    settings.STRIPE_SECRET_KEY = "sk_wrong_key"
    scene.work()
    assert row().status == Breaker.Status.OPEN
    assert "refuses our key" in row().reason
    assert {scene.fresh(each).status for each in payments} == {Status.UNPROCESSED}
    assert not Payment.objects.exclude(blocked_reason="").exists()
    assert PaymentAttempt.objects.count() <= 4, "what was under way when the first answer came, and no more"
    settings.STRIPE_SECRET_KEY = right
    scene.make_due()
    scene.work(rounds=2)
    assert {scene.fresh(each).status for each in payments} == {Status.SUCCEEDED}
    assert [scene.charged(each) for each in payments] == [1] * 30


def test_while_it_is_open_reading_and_cancelling_go_on(scene: "Scene") -> None:
    waits = scene.payment(card="pm_card_threeDSecure2Required")
    ends = scene.payment(card="pm_card_threeDSecure2Required")
    doubtful = scene.payment(amount=4000)
    paid = scene.payment(amount=5000)
    scene.sandbox.add_fault("payment_intents.confirm", "drop_after", times=1, match="pm_card_visa")
    scene.work()
    assert {scene.fresh(each).status for each in (waits, ends, doubtful, paid)} >= {Status.UNKNOWN, Status.SUCCEEDED}
    (unknown,) = Payment.objects.filter(status=Status.UNKNOWN)
    with transaction.atomic():
        breaker.ensure()
    breaker.hold_open(actor="operator:olga", reason="the bank has called")
    fresh = scene.payment()
    services.cancel(order_ids=[ends.order_id])
    refund = refunds.request_refund(
        order_id=Payment.objects.filter(status=Status.SUCCEEDED)[0].order_id,
        amount=None,
        reason="r",
        request_token="t",
        actor="system",
        by_person=False,
    )
    scene.make_due()
    scene.work()
    work_refunds()
    assert scene.fresh(unknown).status == Status.SUCCEEDED, "read"
    assert scene.fresh(ends).status == Status.CANCELED
    assert scene.fresh(waits).status == Status.REQUIRES_ACTION
    assert (scene.fresh(fresh).status, scene.fresh(fresh).attempts) == (Status.UNPROCESSED, 0)
    refund.refresh_from_db()
    assert (refund.status, refund.attempts) == (Refund.Status.UNPROCESSED, 0)
    assert scene.sandbox.bank_objects("refund").get(refund.refund_id) is None

    breaker.automatic(actor="operator:olga", reason="solved")
    scene.work()
    work_refunds()
    refund.refresh_from_db()
    assert (scene.fresh(fresh).status, refund.status) == (Status.SUCCEEDED, Refund.Status.SUCCEEDED)


def test_a_charge_that_turns_out_to_be_needed_goes_back_uncounted(scene: "Scene") -> None:
    """Its outcome was in doubt; the bank says that nothing was charged; charging has to wait."""
    payment = scene.payment()
    scene.sandbox.add_fault("payment_intents.confirm", "drop_before", times=1)
    scene.work()
    assert scene.fresh(payment).status == Status.UNKNOWN
    breaker.hold_open(actor="operator:olga", reason="the bank has called")
    scene.make_due()
    scene.work()
    assert scene.journal(payment)[-1] == ("retrieve", "answered")
    held = scene.fresh(payment)
    assert (held.status, held.token) == (Status.UNKNOWN, None)
    assert held.due_at is not None
    breaker.automatic(actor="operator:olga", reason="solved")
    scene.make_due()
    scene.work()
    assert scene.fresh(payment).status == Status.SUCCEEDED
    assert scene.charged(payment) == 1


def test_one_of_many_is_the_probe(scene: "Scene") -> None:
    [scene.payment() for _ in range(8)]
    breaker.ensure()
    Breaker.objects.update(status="open", open_since=Now(), retry_at=Now(), pauses=1)
    position = breaker.read()
    assert sum(together(*[lambda: breaker.take_probe(position)] * 6)) == 1
    assert not breaker.read().may_probe, "until a lease has passed"


def test_a_declined_card_is_a_good_probe(scene: "Scene") -> None:
    scene.payment(card="pm_card_visa_chargeDeclined")
    breaker.ensure()
    Breaker.objects.update(status="open", open_since=Now(), retry_at=Now(), pauses=3)
    scene.work()
    assert (row().status, row().pauses) == ("closed", 0)


def test_with_nothing_to_charge_the_bank_is_asked_for_a_word(scene: "Scene") -> None:
    breaker.ensure()
    Breaker.objects.update(status="open", open_since=Now(), retry_at=Now() + LONG_AGO, pauses=1)
    prober = Prober()
    assert not prober.probe(), "the pause is not over"
    pause_is_over()
    assert not prober.probe(), "a charge comes first"
    scene.sandbox.add_fault("payment_intents.list", "error_500_before", times=1)
    pause_is_over(ago=LONG_AGO)
    assert prober.probe()
    assert (row().status, row().pauses) == ("open", 2)
    pause_is_over(ago=LONG_AGO)
    assert prober.probe()
    assert row().status == "closed"


def test_a_held_breaker_asks_nobody_and_a_forced_one_stays_closed(scene: "Scene") -> None:
    breaker.hold_open(actor="operator:olga", reason="x")
    assert not Prober().probe()
    breaker.force_closed(actor="operator:olga", reason="x")
    scene.sandbox.add_fault("bank", "error_500_before")
    [scene.payment() for _ in range(10)]
    scene.work()
    assert row().status == "forced_closed"
    with pytest.raises(breaker.AlreadySo):
        breaker.force_closed(actor="operator:omar", reason="x")


def test_pauses_are_bounded() -> None:
    assert breaker.PAUSE.delay(attempts=1) <= dt.timedelta(seconds=5)
    assert breaker.PAUSE.delay(attempts=10_000) <= dt.timedelta(minutes=1)


OK, BAD = ("create", "answered", 200, ""), ("confirm", "unknown", 500, "")


@pytest.mark.parametrize(
    ("window", "opens"),
    [
        ([BAD] * 4, False),
        ([BAD] * 5, True),
        ([OK] * 5 + [BAD] * 5, True),
        ([OK] * 6 + [BAD] * 5, False),
        ([("retrieve", "answered", 200, "")] * 50 + [BAD] * 5, True),
        ([("retrieve", "unknown", None, "")] * 5, True),
        ([("confirm", "not_executed", None, "")] * 5, True),
        ([("confirm", "not_executed", 429, "")] * 50, False),
        ([("confirm", "declined", 402, "card_declined")] * 50, False),
        ([("confirm", "unknown", None, "internal_error")] * 50, False),
        ([], False),
    ],
)
def test_the_verdict(window: list[tuple[str, str, int | None, str]], opens: bool) -> None:
    assert bool(trouble(window)) is opens


def test_all_well_costs_no_query_for_a_batch_of_answers(scene: "Scene") -> None:
    """Django's log does not show the look before calls, which is prepared; it shows all that learns from answers."""
    scene.payment()
    engine = make_engine(in_flight=2)
    with CaptureQueriesContext(connection) as captured:
        engine.run_until_idle(seconds=20)
    engine.close()
    assert [query["sql"] for query in captured if "payments_breaker" in query["sql"]] == []


def test_the_database_refuses_half_a_state(scene: "Scene") -> None:
    breaker.ensure()
    with pytest.raises(IntegrityError), transaction.atomic():
        Breaker.objects.update(status="open")


def test_intake_stops_only_after_a_while(scene: "Scene", settings: Any) -> None:
    settings.INTAKE_STOP_MINUTES = 10
    assert not intake.stopped()
    breaker.hold_open(actor="operator:olga", reason="x")
    assert not intake.stopped()
    Breaker.objects.update(open_since=Now() - dt.timedelta(minutes=11))
    assert intake.stopped()
    settings.INTAKE_STOP_MINUTES = 0
    assert not intake.stopped()
