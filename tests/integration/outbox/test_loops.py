"""When a loop looks again, and when it sleeps."""

import pytest
from django.db import connection

from outbox import prepared, registry
from outbox.doorbell import Doorbell, Woken
from outbox.loops import Loop


def test_a_loop_sleeps_after_a_batch_that_was_not_full(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    batches = iter([3, 3, 2])

    def run_once() -> int:
        done.append("batch")
        return next(batches)

    loop = Loop(
        registry.LoopSpec(name="work", group="work", make=lambda: registry.Batches(run_once), idle_seconds=60, full=3)
    )
    wait = Doorbell.wait

    def sleep(bell: Doorbell, seconds: float) -> Woken:
        done.append("sleep")
        loop.stop()
        return wait(bell, seconds)

    monkeypatch.setattr(Doorbell, "wait", sleep)
    loop.run()
    assert done == ["batch", "batch", "batch", "sleep"]
    assert loop.handled == 8


@pytest.mark.django_db(transaction=True)
def test_what_a_loop_fills_is_planned_for_anew() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE filling (id bigint PRIMARY KEY)")
        cursor.execute("INSERT INTO filling VALUES (0)")
        cursor.execute("ANALYZE filling")
        for _ in range(6):  # from then on one plan for all values
            assert prepared.run(b"SELECT id FROM filling WHERE id = %(id)s::bigint", {"id": "0"}) == [(0,)]
        cursor.execute("INSERT INTO filling SELECT generate_series(1, 10000)")
    plans = [how_it_is_read()]

    def run_once() -> int:
        if loop.handled:
            plans.append(how_it_is_read())
            loop.stop()
        return 10_000

    loop = Loop(registry.LoopSpec(name="work", group="work", make=lambda: registry.Batches(run_once), idle_seconds=60))
    loop.run()
    assert plans == ["Seq Scan", "Index Only Scan"]


def how_it_is_read() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_prepared_statements WHERE statement LIKE 'SELECT id FROM filling %'")
        ((name,),) = cursor.fetchall()
        cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE {name} ('0')")
        ((plan,),) = cursor.fetchall()
    return str(plan[0]["Plan"]["Node Type"])
