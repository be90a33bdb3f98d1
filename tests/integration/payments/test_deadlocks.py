"""Real deadlocks: our transaction is the victim and is tried again, the call to the bank is not."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.db import OperationalError, connection

from outbox import metrics, registry
from outbox.loops import Loop
from outbox.models import Event, LogHead, OutboxRecord, Subscription
from payments.models import Payment
from shop.models import Order
from tests.integration.orders import offer, place
from tests.local.waiting import wait_until

if TYPE_CHECKING:
    from tests.integration.payments.scene import Scene

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our sessions look for a deadlock after 0.3 s, before anybody else does."""
    options = connection.settings_dict["OPTIONS"]
    monkeypatch.setitem(options, "options", f"{options['options']} -c deadlock_timeout=300ms")
    connection.close()


@contextmanager
def opponent(*, has: str, wants: str) -> Iterator[threading.Event]:
    """Another session that `has` locked something, and `wants` something else as soon as anybody waits for it. It
    lets go of everything when it has both. The event: somebody has waited for it."""
    known = connection.settings_dict
    address = psycopg.conninfo.make_conninfo(
        dbname=known["NAME"],
        host=known["HOST"],
        port=known["PORT"] or None,
        user=known["USER"],
        password=known["PASSWORD"] or None,
    )
    is_waited_for = threading.Event()

    def fight() -> None:
        with psycopg.connect(address, autocommit=True) as watching:
            query = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
            wait_until(lambda: bool(watching.execute(query, [session.info.backend_pid]).rowcount))
        is_waited_for.set()
        session.execute(wants.encode())
        session.rollback()

    with psycopg.connect(address) as session:
        session.execute("SET deadlock_timeout = '1h'")  # the other one is the victim
        session.execute(has.encode())
        thread = threading.Thread(target=fight)
        thread.start()
        try:
            yield is_waited_for
        finally:
            thread.join()


@contextmanager
def running(name: str) -> Iterator[None]:
    """That loop alone, as a worker runs it."""
    (spec,) = (spec for spec in registry.loops() if spec.name == name)
    loop = Loop(spec)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield
    finally:
        loop.stop()
        thread.join()


def failures(loop: str) -> float:
    return metrics.FAILURES.labels(loop)._value.get()  # type: ignore[no-any-return]


def test_the_relay_moves_everything_once_after_a_deadlock() -> None:
    place(offer())
    staged, failed = OutboxRecord.objects.count(), failures("relay")
    assert staged
    with (
        opponent(has="SELECT FROM outbox_outboxrecord FOR UPDATE", wants="SELECT FROM outbox_loghead FOR UPDATE"),
        running("relay"),
    ):
        wait_until(lambda: Event.objects.count() == staged)
    assert failures("relay") == failed + 1
    positions = list(Event.objects.order_by("position").values_list("position", flat=True))
    assert positions == list(range(positions[0], positions[0] + staged))


def test_a_reader_of_the_log_handles_everything_once_after_a_deadlock() -> None:
    order = place(offer()).order
    name, failed = "log.order-process", failures("log.order-process")
    with running("relay"):
        wait_until(lambda: not OutboxRecord.objects.exists())
    cursor = "SELECT FROM outbox_subscription WHERE name = 'order-process' FOR UPDATE"
    with opponent(has="SELECT FROM shop_order FOR UPDATE", wants=cursor), running(name):
        wait_until(lambda: Payment.objects.get(order_id=order.pk).due_at is not None)
    assert failures(name) == failed + 1
    order.refresh_from_db()
    assert order.status == Order.Status.AWAITING_PAYMENT
    assert Subscription.objects.get(name="order-process").position == LogHead.objects.get().position


def test_a_result_is_recorded_after_a_deadlock_and_the_bank_is_not_called_again(scene: "Scene") -> None:
    payment, before = scene.payment(), _calls(scene)
    engine = scene.engine()
    try:
        assert engine.run_once() == 1  # the create call is on its way
        mine = f"SELECT FROM payments_payment WHERE id = {payment.pk} FOR UPDATE"
        with opponent(has="SELECT FROM payments_paymentattempt FOR UPDATE", wants=mine) as is_waited_for:
            with pytest.raises(OperationalError) as caught:
                _until_raised(engine)
            assert is_waited_for.is_set()
        assert getattr(caught.value.__cause__, "sqlstate", "") == "40P01"
        engine.run_until_idle(seconds=20)
    finally:
        engine.close()
    assert scene.fresh(payment).status == Payment.Status.SUCCEEDED
    assert scene.journal(payment) == [("create", "answered"), ("confirm", "answered")]
    assert {op: count - before.get(op, 0) for op, count in _calls(scene).items() if count > before.get(op, 0)} == {
        "payment_intents.create": 1,
        "payment_intents.confirm": 1,
    }
    assert scene.charged(payment) == 1
    assert scene.facts(payment) == ["PaymentProcessed"]


def _until_raised(engine: Any) -> None:
    while True:
        engine.run_once()
        time.sleep(0.01)


def _calls(scene: "Scene") -> dict[str, int]:
    """How many calls of each kind the bank has had, by its own count."""
    return {op: sum(answers.values()) for op, answers in scene.sandbox.stats()["ops"].items()}
