"""Where a worker begins to look for due rows, on payments' rows: it hides nothing, and spares a walk."""

import datetime as dt

import pytest
from django.db import transaction
from django.db.models.functions import Now

from outbox import claims, horizon
from outbox.horizon import Horizon
from payments.models import Payment
from tests.integration.payments.scene import Scene
from tests.snapshots import counting_blocks, old_snapshot


def look(known: Horizon, *, limit: int) -> list[int]:
    with transaction.atomic():
        rows = claims.claim(Payment, limit=limit, lease=dt.timedelta(minutes=5), worker="a", horizon=known)
    return [row.pk for row in rows]


def behind(scene: Scene) -> int:
    """One that becomes due in the past."""
    payment = scene.payment()
    Payment.objects.filter(pk=payment.pk).update(due_at=Now() - dt.timedelta(hours=1))
    return payment.pk


def test_what_becomes_due_behind_a_horizon_is_found_when_less_is_due_in_front(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(horizon, "EVERY", 3600.0)
    known = Horizon()
    first, second, third = (scene.payment().pk for _ in range(3))
    assert look(known, limit=1) == [first]
    past = behind(scene)
    assert look(known, limit=1) == [second]
    assert claims.due(Payment, limit=1, horizon=known) == 1
    assert claims.due(Payment, limit=9, horizon=known) == 2
    assert look(known, limit=2) == [past, third]
    assert look(known, limit=1) == []
    another = behind(scene)
    assert look(known, limit=1) == [another]


def test_what_becomes_due_behind_a_horizon_does_not_wait_for_long(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much is due in front."""
    monkeypatch.setattr(horizon, "EVERY", 3600.0)
    known = Horizon()
    for _ in range(3):
        scene.payment()
    look(known, limit=1)
    past = behind(scene)
    assert look(known, limit=1) != [past]
    monkeypatch.setattr(horizon, "EVERY", 0.0)  # it is over
    assert look(known, limit=1) == [past]


def test_a_claim_that_was_rolled_back_is_made_again(scene: Scene) -> None:
    known = Horizon()
    payments = [scene.payment().pk for _ in range(4)]
    with transaction.atomic():
        rows = claims.claim(Payment, limit=2, lease=dt.timedelta(minutes=5), worker="a", horizon=known)
        transaction.set_rollback(True)
    assert [row.pk for row in rows] == payments[:2]
    assert look(known, limit=2) == payments[:2]


def test_a_claim_does_not_walk_over_what_an_old_snapshot_keeps(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(horizon, "EVERY", 3600.0)
    first, many = scene.payment(), []
    for n in range(1, 2500):
        due_at = first.created_at - dt.timedelta(milliseconds=n)
        many.append(Payment(order_id=first.order_id + n, reference=f"O-{n}", amount=1, currency="EUR", due_at=due_at))
    Payment.objects.bulk_create(many)
    known = Horizon()
    with old_snapshot():
        for _ in range(40):
            look(known, limit=50)
        bounded, plain = blocks_of_a_claim(known), blocks_of_a_claim(Horizon())
    # From the beginning it is each of 2,000 dead ones, in more than sixty blocks.
    assert bounded < plain - 60


def blocks_of_a_claim(known: Horizon) -> int:
    with counting_blocks("payments_payment") as count:
        assert len(look(known, limit=5)) == 5
        return count()
