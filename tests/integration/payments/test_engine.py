"""The engine around a claim: what has been answered is stored, whatever happens to the storing."""

import datetime as dt
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction

from outbox import claims, worker
from outbox.claims import Result
from outbox.doorbell import Doorbell, Woken
from payments.models import Payment, PaymentAttempt
from tests.integration.payments.scene import Scene

Status = Payment.Status


@contextmanager
def refusing(condition: str) -> Iterator[None]:
    """The database refuses a change of a payment for which `condition` holds: a bug of ours."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room for it'; END $$"
        )
        cursor.execute(
            "CREATE TRIGGER refuse BEFORE UPDATE ON payments_payment "
            f"FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION refuse()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION refuse CASCADE")


def end_session() -> None:
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
    other.close()


def test_an_answer_is_held_until_it_is_stored(scene: Scene) -> None:
    """The session ends while the bank is being asked: nothing is asked a second time."""
    payment = scene.payment()
    engine = scene.engine()
    answered = threading.Event()
    engine.wake_with(answered.set)
    engine.run_once()
    end_session()
    assert answered.wait(timeout=20)
    with pytest.raises(OperationalError):
        engine.run_once()
    connection.close()  # as the loop does
    engine.run_until_idle(seconds=20)
    engine.close()
    payment.refresh_from_db()
    assert payment.status == Status.SUCCEEDED
    assert scene.journal(payment) == [("create", "answered"), ("confirm", "answered")]


def test_one_that_cannot_be_stored_is_set_aside_and_the_others_are_stored(scene: Scene) -> None:
    payments = [scene.payment() for _ in range(3)]
    odd = payments[1]
    with refusing(f"NEW.id = {odd.pk} AND NEW.status = 'succeeded'"):
        scene.work()
    for payment in payments:
        payment.refresh_from_db()
    assert [payment.status for payment in payments] == [Status.SUCCEEDED, Status.UNKNOWN, Status.SUCCEEDED]
    assert "no room for it" in odd.blocked_reason
    assert odd.due_at is None
    # What the bank said is kept.
    assert PaymentAttempt.objects.get(payment=odd, phase="confirm").outcome == "answered"


def test_an_answer_is_no_reason_to_look_for_due_rows(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes one due rings; and they are looked for all the same when the last look is a while ago."""
    monkeypatch.setattr(worker, "_LOOK_AGAIN", 3600.0)
    engine = scene.engine()
    scene.payment()
    assert engine.run_once(woken=Woken.BY_OTHERS) == 1
    later = scene.payment()
    engine.run_once(woken=Woken.BY_ITSELF)
    assert scene.fresh(later).status == Status.UNPROCESSED
    engine.run_once(woken=Woken.BY_OTHERS)
    assert scene.fresh(later).status != Status.UNPROCESSED
    last = scene.payment()
    monkeypatch.setattr(worker, "_LOOK_AGAIN", 0.0)
    engine.run_once(woken=Woken.BY_ITSELF)
    assert scene.fresh(last).status != Status.UNPROCESSED
    engine.run_until_idle(seconds=20)
    engine.close()
    assert set(Payment.objects.values_list("status", flat=True)) == {Status.SUCCEEDED}


def test_where_a_look_left_rows_an_answer_is_enough(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_LOOK_AGAIN", 3600.0)
    for _ in range(3):
        scene.payment()
    engine, answered = scene.engine(in_flight=1), threading.Event()
    engine.wake_with(answered.set)
    assert engine.run_once(woken=Woken.BY_OTHERS) == 1
    for _ in range(6):  # two calls for each
        assert answered.wait(timeout=20)
        answered.clear()
        engine.run_once(woken=Woken.BY_ITSELF)
    engine.close()
    assert list(Payment.objects.values_list("status", flat=True)) == [Status.SUCCEEDED] * 3


def test_a_call_that_could_outlast_its_claim_is_not_made(scene: Scene, settings: Any) -> None:
    """The answer before it was held for too long, by a database that was away: the next claim goes on."""
    payment = scene.payment()
    settings.PAYMENT_LEASE_SECONDS, settings.PAYMENT_CALL_DEADLINE = 60, 61.0
    engine = scene.engine()
    engine.run_until_idle(seconds=20)
    engine.close()
    assert scene.journal(payment) == [("create", "answered")]
    settings.PAYMENT_CALL_DEADLINE = 2.0
    scene.make_due()
    scene.work()
    assert scene.fresh(payment).status == Status.SUCCEEDED
    assert scene.charged(payment) == 1


def test_who_leaves_a_row_due_rings(scene: Scene) -> None:
    """It was nudged while its call was under way: nobody else rings once more."""
    payment = scene.payment()
    with transaction.atomic():
        (row,) = claims.claim(Payment, limit=1, lease=dt.timedelta(minutes=5), worker="a")
    claims.nudge(Payment.objects.filter(pk=payment.pk))
    bell = Doorbell(Payment.BELL)
    try:
        with transaction.atomic():
            claims.finish([Result(row=row, status=Status.UNKNOWN, seen=0, due_in=dt.timedelta(minutes=5))])
        assert bell.wait(20) is Woken.BY_OTHERS
        bell.ring()
        assert bell.wait(20) is Woken.BY_ITSELF
        assert bell.wait(0) is Woken.BY_NOBODY
    finally:
        bell.close()
