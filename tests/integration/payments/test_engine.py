"""The engine around a claim: what has been answered is stored, whatever happens to the storing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import OperationalError, connection

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
