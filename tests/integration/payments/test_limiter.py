"""The limiter: all workers together stay below the rate, as the bank's own books tell."""

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from payments import limiter
from payments.gateways.base import Answer, Outcome
from payments.limiter import Level, filled, slowed
from payments.models import Bucket, Payment, PaymentAttempt
from payments.worker import make_engine
from tests.threads import together

if TYPE_CHECKING:
    from tests.integration.payments.scene import Scene

NOON = dt.datetime(2026, 1, 1, 12, 0, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


def work_until_paid(count: int) -> None:
    engine = make_engine(in_flight=8)
    try:
        for _ in range(2000):
            engine.run_until_idle(seconds=5)
            if Payment.objects.filter(status=Payment.Status.SUCCEEDED).count() == count:
                return
            connection.ensure_connection()
            time.sleep(0.02)  # tokens come with time
    finally:
        engine.close()


def call_times(scene: "Scene", *, after: int) -> list[float]:
    """When the bank took each call, by its own clock."""
    lines = scene.sandbox.ledger(after=after, book="bank")
    return sorted(line["at"] for line in lines if "method" in line)


def test_many_workers_together_stay_below_the_rate(scene: "Scene", settings: Any) -> None:
    settings.PAYMENT_CALLS_PER_SECOND, settings.PAYMENT_CALL_BURST = 20.0, 4
    after = max((line["n"] for line in scene.sandbox.ledger(book="bank")), default=0)
    payments = [scene.payment() for _ in range(40)]
    together(*[lambda: work_until_paid(40)] * 4)
    assert [scene.charged(each) for each in payments] == [1] * 40
    times = call_times(scene, after=after)
    assert len(times) == 80, "create and confirm, and no call for nothing"
    slack = 0.15  # seconds on the way from the token to the bank's book
    for first, begun in enumerate(times):
        for last in range(first, len(times)):
            allowed = 4 + 20 * (times[last] - begun + slack)
            assert last - first + 1 <= allowed, (begun, times[last])
    assert times[-1] - times[0] < 80 / 20 * 2, "and use it"
    # Claims were made for calls alone.
    assert not Payment.objects.filter(attempts__gt=3).exists()


def test_no_token_no_claim(scene: "Scene", settings: Any) -> None:
    settings.PAYMENT_CALLS_PER_SECOND, settings.PAYMENT_CALL_BURST = 0.001, 2
    for _ in range(5):
        scene.payment()
    scene.work()
    assert PaymentAttempt.objects.count() == 2
    unclaimed = Payment.objects.filter(token=None, due_at__isnull=False)
    assert unclaimed.count() == 5
    assert Payment.objects.filter(attempts=0).count() == 3
    assert Bucket.objects.get().tokens < 1


def test_what_was_created_comes_before_what_came_later(scene: "Scene", settings: Any) -> None:
    settings.PAYMENT_CALLS_PER_SECOND, settings.PAYMENT_CALL_BURST = 0.001, 1
    first, _later = scene.payment(), scene.payment()
    scene.work()
    assert scene.journal(first) == [("create", "answered")]
    Bucket.objects.update(tokens=1)
    scene.work()
    assert scene.fresh(first).status == Payment.Status.SUCCEEDED
    assert scene.fresh(_later).attempts == 0


def test_a_429_slows_all(scene: "Scene", settings: Any) -> None:
    settings.PAYMENT_CALLS_PER_SECOND, settings.PAYMENT_CALL_BURST = 50.0, 10
    payments = [scene.payment() for _ in range(12)]
    scene.sandbox.add_fault("bank", "rate_limit", times=3)
    scene.work()
    refused = PaymentAttempt.objects.filter(http_status=429)
    assert 1 <= refused.count() <= 3
    bucket = Bucket.objects.get()
    assert bucket.rate < 50
    told = refused.order_by("id")[0].finished_at
    assert told is not None
    scene.sandbox.clear_faults()
    work_until_paid(12)
    assert [scene.charged(each) for each in payments] == [1] * 12
    # Nobody else called while the bank wanted to be left alone; what was under way already had its token.
    after = PaymentAttempt.objects.filter(started_at__gt=told + dt.timedelta(milliseconds=150))
    assert min(after.values_list("started_at", flat=True)) >= told + dt.timedelta(milliseconds=900)


def test_the_limiter_off_asks_for_nothing(scene: "Scene", settings: Any) -> None:
    settings.PAYMENT_CALLS_PER_SECOND = 0
    scene.payment()
    with CaptureQueriesContext(connection) as captured:
        scene.work()
    assert not [query for query in captured if "payments_bucket" in query["sql"]]
    limiter.note([Answer(outcome=Outcome.NOT_EXECUTED, http_status=429)])
    assert not Bucket.objects.exists()


def test_an_idle_worker_writes_nothing(scene: "Scene", settings: Any) -> None:
    settings.PAYMENT_CALLS_PER_SECOND = 20.0
    engine = make_engine(in_flight=2)
    with CaptureQueriesContext(connection) as captured:
        engine.run_once()
    engine.close()
    statements = [query["sql"] for query in captured if query["sql"] not in ("BEGIN", "COMMIT")]
    assert all(sql.startswith("SELECT") and "FOR " not in sql.split("WHERE")[-1] for sql in statements), statements


def test_a_rollback_returns_the_tokens(scene: "Scene", settings: Any) -> None:
    settings.PAYMENT_CALLS_PER_SECOND, settings.PAYMENT_CALL_BURST = 0.001, 3
    with transaction.atomic():
        assert limiter.take(1) == 1
    with transaction.atomic():
        assert limiter.take(5) == 2
        transaction.set_rollback(True)
    with transaction.atomic():
        assert limiter.take(5) == 2
        assert limiter.take(5) == 0


FULL = Level(tokens=5.0, rate=20.0, filled_at=NOON)


def test_slowed_and_recovered() -> None:
    slow = slowed(FULL, now=NOON, wait=2 * SECOND, rate=20.0)
    assert (slow.tokens, slow.rate) == (0.0, 10.0)
    assert filled(slow, now=NOON + SECOND, rate=20.0, burst=5.0) == slow
    assert slowed(slow, now=NOON + SECOND, wait=SECOND, rate=20.0).rate == 10.0, "the same complaint"
    later = filled(slow, now=NOON + 2.1 * SECOND, rate=20.0, burst=5.0)
    assert later.tokens == pytest.approx(1.0)
    assert filled(later, now=NOON + 2 * limiter.RECOVERY, rate=20.0, burst=5.0).rate == 20.0


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 10), st.booleans()), max_size=60))
def test_never_more_than_burst_and_rate(steps: list[tuple[float, int, bool]]) -> None:
    level, now, used = FULL, NOON, 0
    for seconds, wanted, complained in steps:
        now += dt.timedelta(seconds=seconds)
        level = filled(level, now=now, rate=20.0, burst=5.0)
        granted = min(wanted, int(level.tokens))
        used += granted
        level = Level(tokens=level.tokens - granted, rate=level.rate, filled_at=level.filled_at)
        if complained:
            level = slowed(level, now=now, wait=SECOND, rate=20.0)
        assert level.tokens >= 0
        assert 20.0 * limiter.LEAST <= level.rate <= 20.0
        assert used <= 5 + 20 * (now - NOON).total_seconds() + 1e-6
