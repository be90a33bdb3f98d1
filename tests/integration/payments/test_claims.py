"""The claim by itself, on payments' rows: who may write a result, and what a wake-up in between does."""

import datetime as dt

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from outbox import claims
from outbox.claims import ClaimLost, Result
from payments.models import Payment
from tests.integration.payments.scene import Scene
from tests.threads import together

LEASE = dt.timedelta(minutes=5)
Status = Payment.Status


def claim(*, limit: int = 10, worker: str = "a") -> list[Payment]:
    with transaction.atomic():
        return claims.claim(Payment, limit=limit, lease=LEASE, worker=worker)


def end_lease() -> None:
    Payment.objects.filter(token__isnull=False).update(due_at=Now() - dt.timedelta(seconds=1))


def finish(row: Payment, *, status: str = Status.UNKNOWN, due_in: dt.timedelta | None = LEASE) -> None:
    with transaction.atomic():
        claims.finish([Result(row=row, status=status, seen=row.nudges, due_in=due_in)])


def is_due(payment: Payment) -> bool:
    return Payment.objects.filter(pk=payment.pk, due_at__lte=Now()).exists()


def test_a_claim_lasts_as_long_as_its_lease(scene: Scene) -> None:
    payment = scene.payment()
    (row,) = claim()
    assert (row.pk, row.status, row.attempts, row.was_stranded) == (payment.pk, "processing", 1, False)
    assert claim(worker="b") == []
    end_lease()
    (again,) = claim(worker="b")
    assert (again.attempts, again.was_stranded, again.claimed_by) == (2, True, "b")
    assert again.token != row.token


def test_only_the_holder_writes_a_result(scene: Scene) -> None:
    scene.payment()
    (late,) = claim(worker="a")
    end_lease()
    (holder,) = claim(worker="b")
    with pytest.raises(ClaimLost):
        finish(late, status=Status.FAILED)
    with transaction.atomic():
        assert claims.held(Payment, [late]) == {}
        assert list(claims.held(Payment, [holder])) == [holder.pk]
    finish(holder)
    with pytest.raises(ClaimLost):
        finish(holder)  # nor twice
    assert Payment.objects.get().status == Status.UNKNOWN


def test_a_nudge_during_the_call_is_seen_after_it(scene: Scene) -> None:
    payment = scene.payment()
    (row,) = claim()
    assert claims.nudge(Payment.objects.filter(pk=payment.pk)) == 1
    assert not is_due(payment), "it stays with its worker"
    finish(row)
    assert is_due(payment)


def test_a_nudge_wakes_what_sleeps_and_not_what_waits_for_a_person(scene: Scene) -> None:
    asleep, blocked = scene.payment(), scene.payment()
    for row in claim():
        finish(row)
    Payment.objects.filter(pk=blocked.pk).update(due_at=None, blocked_reason="look at it")
    claims.nudge(Payment.objects.all())
    assert is_due(asleep)
    assert Payment.objects.get(pk=blocked.pk).due_at is None


def test_who_hurries_does_not_disturb_a_call(scene: Scene) -> None:
    held, asleep = scene.payment(), scene.payment()
    for row in claim():
        if row.pk == asleep.pk:
            finish(row)
    assert claims.hurry(Payment.objects.all()) == 1
    assert is_due(asleep)
    assert not is_due(held)


def test_a_row_is_claimed_once_however_many_ask(scene: Scene) -> None:
    """The claims overlap: each has read its rows before any has committed."""
    for _ in range(6):
        scene.payment()

    def take_two() -> set[int]:
        with transaction.atomic():
            taken = {row.pk for row in claims.claim(Payment, limit=2, lease=LEASE, worker="x")}
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(0.2)")  # what makes them overlap
        return taken

    taken = together(take_two, take_two, take_two)
    assert sorted(pk for each in taken for pk in each) == sorted(Payment.objects.values_list("pk", flat=True))
    assert not Payment.objects.exclude(attempts=1).exists()


def test_unblocked_is_due_at_once(scene: Scene) -> None:
    payment = scene.payment()
    Payment.objects.update(due_at=None, blocked_reason="look at it", nudges=F("nudges") + 1)
    assert claims.unblock(Payment.objects.all()) == 1
    assert is_due(payment)
    assert claims.unblock(Payment.objects.all()) == 0
