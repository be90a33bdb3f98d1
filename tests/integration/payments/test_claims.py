"""The claim by itself, on payments' rows: who may write a result, and what a wake-up in between does."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Case, DateTimeField, F, Q, When
from django.db.models.functions import Now

from outbox import claims
from outbox.claims import ClaimLost, Result
from payments.models import Payment
from tests.integration.payments.scene import Scene
from tests.snapshots import counting_scans
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


def test_a_result_looks_at_no_other_rows(scene: Scene) -> None:
    for _ in range(300):
        scene.payment()
    (row,) = claim(limit=1)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE payments_payment")
    with transaction.atomic(), counting_scans("payments_payment") as count:
        claims.note([row], "intent_id")
        claims.finish([Result(row=row, status=Status.UNKNOWN, seen=row.nudges, due_in=LEASE)])
        assert count() == {"payments_payment": 0}


def test_one_lost_claim_takes_no_other_with_it(scene: Scene) -> None:
    """Its result is refused, the others' are written; whoever holds it now is not disturbed."""
    lost, kept = scene.payment(), scene.payment()
    rows = {row.pk: row for row in claim()}
    Payment.objects.filter(pk=lost.pk).update(due_at=Now() - dt.timedelta(seconds=1))
    (other,) = claim(worker="b")
    results = [Result(row=row, status=Status.UNKNOWN, seen=0, due_in=LEASE) for row in rows.values()]
    with transaction.atomic(), pytest.raises(ClaimLost, match=f": {lost.pk} of a$"):
        claims.finish(results)
    assert scene.fresh(kept).status == Status.UNKNOWN
    assert (scene.fresh(lost).status, scene.fresh(lost).token) == (Status.PROCESSING, other.token)


def finish_one_by_one(results: Sequence[Result]) -> None:
    """What `claims.finish` writes, told plainly."""
    for each in results:
        _finish_one(each)


def _finish_one(result: Result) -> None:
    row, final = result.row, result.status in Payment.FINAL
    later = Now() + result.due_in if isinstance(result.due_in, dt.timedelta) else result.due_in
    nudged = Q(nudges__gt=result.seen) & Q(pk__in=[row.pk] if result.status in Payment.NUDGED else [])
    written = Payment.objects.filter(pk=row.pk, token=row.token).update(
        status=result.status,
        token=None,
        claimed_by="",
        due_at=later
        if result.blocked_reason
        else Case(When(nudged, then=Now()), default=later, output_field=DateTimeField()),
        blocked_reason=result.blocked_reason,
        settled_at=Now() if final else None,
        **result.fields,
    )
    assert written == 1


def test_a_batch_is_finished_as_its_rows_would_be_one_by_one(scene: Scene) -> None:
    """Due in a while, at a time, never; nudged meanwhile, blocked, settled; with columns of their own."""
    at = dt.datetime(2031, 5, 1, 12, 30, 15, 123456, tzinfo=dt.UTC)
    ways: list[tuple[str, dt.timedelta | dt.datetime | None, str]] = [
        (Status.UNKNOWN, dt.timedelta(hours=30, microseconds=250), ""),
        (Status.UNKNOWN, at, ""),
        (Status.CANCELING, at, ""),
        (Status.UNPROCESSED, dt.timedelta(0), ""),
        (Status.DECLINED, None, ""),
        (Status.UNKNOWN, None, "it's a person's turn: \\ \" %s"),
        (Status.SUCCEEDED, None, ""),
        (Status.FAILED, None, ""),
    ]
    for _ in range(4 * len(ways)):
        scene.payment()
    rows = claim(limit=4 * len(ways))
    Payment.objects.filter(pk__in=[row.pk for row in rows[::2]]).update(nudges=F("nudges") + 1)
    results = [
        Result(
            row=row,
            status=status,
            seen=0,
            due_in=due_in,
            blocked_reason=reason,
            fields={"intent_id": f"pi_{row.pk}", "failure_code": "über 'x'", "attempts": row.attempts + 1},
        )
        for row, (status, due_in, reason) in zip(rows, [way for way in ways for _ in range(4)], strict=True)
    ]
    written = []
    for write in (claims.finish, finish_one_by_one):
        with transaction.atomic():
            write(results)
            with connection.cursor() as cursor:
                # Moments of the two are moments apart: to the minute they are the same.
                cursor.execute("SELECT statement_timestamp()")
                (now,) = cursor.fetchone()
            written.append([_without_moment(row, now) for row in Payment.objects.order_by("pk").values()])
            transaction.set_rollback(True)
    assert written[0] == written[1]


def _without_moment(row: Mapping[str, Any], now: dt.datetime) -> dict[str, Any]:
    """Times as how far they are from now, in minutes, but for one that was given."""

    def plain(value: Any) -> Any:
        moves = isinstance(value, dt.datetime) and value.year < 2031
        return round((value - now).total_seconds() / 60) if moves else value

    return {name: plain(value) for name, value in row.items()}


def test_what_is_noted_is_written_and_the_claim_goes_on(scene: Scene) -> None:
    first, second = scene.payment(), scene.payment()
    rows = claim()
    for row in rows:
        row.intent_id, row.generation = f"pi_{row.pk}", 3
    claims.note(rows, "intent_id", "generation")
    for payment, row in zip((first, second), rows, strict=True):
        fresh = scene.fresh(payment)
        assert (fresh.intent_id, fresh.generation, fresh.token, fresh.status) == (
            f"pi_{payment.pk}",
            3,
            row.token,
            Status.PROCESSING,
        )
    end_lease()
    claim(worker="b")
    with pytest.raises(ClaimLost):
        claims.note(rows, "intent_id")


def test_a_claimed_row_is_as_the_orm_reads_it(scene: Scene) -> None:
    payment = scene.payment()
    was_due = scene.fresh(payment).due_at
    (row,) = claim()
    fresh = scene.fresh(payment)
    assert row.due_at == was_due
    row.due_at = fresh.due_at
    assert [getattr(row, each.attname) for each in row._meta.concrete_fields] == [
        getattr(fresh, each.attname) for each in fresh._meta.concrete_fields
    ]
    with transaction.atomic():
        held = claims.held(Payment, [row])[row.pk]
    assert held == fresh
    assert held.context == fresh.context


def test_nobody_claims_without_a_transaction(scene: Scene) -> None:
    with pytest.raises(transaction.TransactionManagementError):
        claims.claim(Payment, limit=1, lease=LEASE, worker="a")
    with pytest.raises(transaction.TransactionManagementError):
        claims.held(Payment, [])


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
