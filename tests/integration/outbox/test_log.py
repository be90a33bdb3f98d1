"""Publishing, relaying and reading the log, with real connections at once."""

import datetime as dt
import queue
import random
import threading
from collections import defaultdict
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from outbox import context, crash_points, feeds, log, registry, subscriptions
from outbox.context import Context
from outbox.dispatcher import dispatch_once
from outbox.doorbell import Doorbell
from outbox.events import MalformedEvent, UnknownEventVersion, decode
from outbox.models import Event, LogHead, OutboxRecord, Subscription
from outbox.publisher import RELAY, PublishOutsideTransaction, publish
from outbox.purging import purge_once
from outbox.relay import LOG, relay_once
from tests.integration.outbox.things import (
    Stepped,
    dispatch_all,
    relay_all,
    seen,
    step,
    subscribed,
)
from tests.local.waiting import wait_until
from tests.threads import together


def test_publishing_outside_a_transaction_is_refused() -> None:
    with pytest.raises(PublishOutsideTransaction):
        publish(Stepped(counter=1, step=1))
    assert not OutboxRecord.objects.exists()


def test_a_rollback_takes_its_events_with_it() -> None:
    with transaction.atomic():
        publish(Stepped(counter=1, step=1))
        transaction.set_rollback(True)
    assert relay_all() == 0


def test_what_comes_while_a_reader_reads_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cursor moves to the head as it was before the reader looked."""
    relayed: list[int] = []

    def relayed_meanwhile() -> int:
        step(1)
        return relay_once()

    ahead = log.ahead

    def read(*name: str, **limits: Any) -> log.Ahead:
        found = ahead(*name, **limits)
        if not relayed:
            relayed[:] = together(relayed_meanwhile)
        return found

    monkeypatch.setattr(log, "ahead", read)
    with subscribed("reader"):
        step(1)
        relay_all()
        assert dispatch_once("reader") == 1
        assert relayed == [1]
        assert dispatch_all("reader") == 1
        assert [reached for _, _, reached in seen("reader")] == [1, 2]


def test_two_relays_take_turns() -> None:
    """The second waits for the head, and goes on where the first has left it."""
    step(1, times=5)
    backend: queue.Queue[int] = queue.Queue()
    moved: list[int] = []

    def second() -> None:
        connection.ensure_connection()
        backend.put(connection.connection.info.backend_pid)
        try:
            moved.append(relay_once())
        finally:
            connection.close()

    other = threading.Thread(target=second)

    def head_is_locked(point: str) -> None:
        if point != "R1" or threading.current_thread() is other:
            return
        other.start()
        pid = backend.get(timeout=30)
        wait_until(lambda: bool(moved) or is_waiting(pid))

    def is_waiting(pid: int) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT cardinality(pg_blocking_pids(%s))", [pid])
            return bool(cursor.fetchone()[0])

    with crash_points.watching(head_is_locked):
        assert relay_once(limit=3) == 3
        other.join(timeout=30)
    assert moved == [2]
    assert list(Event.objects.order_by("position").values_list("position", flat=True)) == [1, 2, 3, 4, 5]


def test_a_second_reader_leaves_the_cursor_to_the_first() -> None:
    meanwhile: list[int] = []

    def another_comes(point: str) -> None:
        if point == "D1" and not meanwhile:
            meanwhile.append(-1)
            meanwhile[:] = together(lambda: dispatch_once("reader"))

    with subscribed("reader"):
        step(1, times=5)
        relay_all()
        with crash_points.watching(another_comes):
            assert dispatch_once("reader") == 5
        assert meanwhile == [0]
        assert [position for position, _, _ in seen("reader")] == [1, 2, 3, 4, 5]


def test_positions_are_dense_and_staging_is_emptied() -> None:
    for _ in range(3):
        step(1, times=5)
    assert relay_once(limit=7) == 7
    assert relay_once(limit=7) == 7
    assert relay_once(limit=7) == 1
    assert relay_once(limit=7) == 0
    assert list(Event.objects.order_by("position").values_list("position", flat=True)) == list(range(1, 16))
    assert not OutboxRecord.objects.exists()
    assert [event.payload["step"] for event in Event.objects.order_by("position")] == list(range(1, 16))


def test_the_log_refuses_changes() -> None:
    step(1)
    relay_all()
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        Event.objects.update(type="Other")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        Event.objects.all().delete()


def test_the_story_travels_from_cause_to_consequence() -> None:
    def handler(deliveries: object) -> None:
        for delivery in deliveries:  # type: ignore[attr-defined]
            if delivery.event.step == 1:
                with context.bound(delivery.consequence):
                    publish(Stepped(counter=delivery.event.counter, step=2))

    with subscribed("follow-up", handler), context.bound(Context.new(actor="shopper")) as story:
        step(1)
        relay_all()
        dispatch_all("follow-up")
        relay_all()
    first, second = Event.objects.order_by("position")
    assert first.headers["correlation_id"] == second.headers["correlation_id"] == story.correlation_id
    assert first.headers["actor"] == "shopper"
    assert second.headers["causation_id"] == str(first.id)
    assert second.headers["traceparent"].split("-")[1] == story.traceparent.split("-")[1]
    assert second.headers["traceparent"] != first.headers["traceparent"]


def test_decoding_is_strict() -> None:
    with pytest.raises(UnknownEventVersion):
        decode("Stepped", 99, "{}")
    with pytest.raises(MalformedEvent):
        decode("Stepped", 1, '{"counter": 1, "step": "2"}')
    with pytest.raises(MalformedEvent):
        decode("Stepped", 1, '{"counter": 1, "step": 2, "extra": 3}')


def test_a_new_subscription_starts_where_it_says() -> None:
    step(1, times=3)
    relay_all()
    with subscribed("from-the-beginning"), subscribed("from-now", start="now"):
        step(1, times=2)
        relay_all()
        assert dispatch_all("from-the-beginning") == 5
        assert dispatch_all("from-now") == 2
    assert [reached for _, _, reached in seen("from-now")] == [4, 5]


def test_only_wanted_types_are_delivered_and_the_cursor_still_moves() -> None:
    with subscribed("steps-only", types=[Stepped]):
        step(1)
        step(1, poisoned=True)
        relay_all()
        assert dispatch_all("steps-only") == 1
        assert Subscription.objects.get(name="steps-only").position == 2


def test_one_per_stream_gives_sets() -> None:
    batches: list[list[int]] = []

    def handler(deliveries: object) -> None:
        batches.append([each.event.counter for each in deliveries])  # type: ignore[attr-defined]

    with subscribed("sets", handler, one_per_stream=True):
        step(1, times=2)
        step(2, times=3)
        relay_all()
        dispatch_all("sets")
    assert batches == [[1, 2], [1, 2], [2]]


def test_purge_takes_only_what_is_old_and_delivered() -> None:
    with subscribed("slow"), subscribed("quick"):
        step(1, times=10)
        relay_all()
        for other in registry.subscribers():
            if other.name != "slow":
                dispatch_all(other.name)
        for feed in registry.feeds():
            feeds.acknowledge(name=feed.name, through=10)
        dispatch_once("slow", limit=4)
        never = dt.timedelta(seconds=0)
        assert purge_once(retention=dt.timedelta(days=1)) == 0
        assert purge_once(retention=never, limit=3) == 3
        assert purge_once(retention=never) == 1  # the slow one has passed four
        assert purge_once(retention=never) == 0
        assert LogHead.objects.get().purged_through == 4
        with pytest.raises(subscriptions.ReplayTooFar):
            subscriptions.replay(name="quick", position=4, actor="test", reason="too far")
        subscriptions.replay(name="quick", position=5, actor="test", reason="again")
        assert dispatch_all("quick") == 6


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_nothing_is_lost_doubled_or_disordered_under_concurrency() -> None:
    """Publishers with slow commits, two relays, and two dispatchers for each of two subscriptions."""
    publishers, transactions, steps, counters = 6, 350, 10, 12
    expected = publishers * transactions * steps
    assert expected >= 20_000
    published = threading.Event()

    def publisher(number: int) -> int:
        chance = random.Random(number)  # noqa: S311 - reproducible, no secret
        for _ in range(transactions):
            step(chance.randrange(counters), times=steps, slow=0.01 if chance.random() < 0.1 else 0.0)
        return 0

    def everyone_published() -> int:
        together(*[lambda number=number: publisher(number) for number in range(publishers)])
        published.set()
        return 0

    def relay() -> int:
        total, bell = 0, Doorbell(RELAY)
        while True:
            last_round = published.is_set()
            moved = relay_once(limit=200)
            total += moved
            if last_round and not moved:
                bell.close()
                return total
            if not moved:
                bell.wait(0.05)

    relays_done: list[int] = []

    def counted_relay() -> int:
        relays_done.append(relay())
        return relays_done[-1]

    def reader(name: str) -> int:
        total, bell = 0, Doorbell(LOG)
        while True:
            finished = len(relays_done) == 2 and Subscription.objects.get(name=name).position == expected
            handled = dispatch_once(name, limit=100)
            total += handled
            if finished:
                bell.close()
                return total
            if not handled:
                bell.wait(0.05)

    with subscribed("reader-a"), subscribed("reader-b", one_per_stream=True):
        results = together(
            everyone_published,
            counted_relay,
            counted_relay,
            *[lambda name=name: reader(name) for name in ("reader-a", "reader-b") for _ in range(2)],
        )
        assert results[1] + results[2] == expected
        assert results[3] + results[4] == results[5] + results[6] == expected
        for name in ("reader-a", "reader-b"):
            rows = seen(name)
            assert sorted(position for position, _, _ in rows) == list(range(1, expected + 1))
            by_counter: dict[int, list[int]] = defaultdict(list)
            for _, counter, reached in rows:
                by_counter[counter].append(reached)
            for steps_seen in by_counter.values():
                assert steps_seen == list(range(1, len(steps_seen) + 1))
    with connection.cursor() as cursor:
        cursor.execute("SELECT sum(step) FROM test_counter")
        assert cursor.fetchone() == (expected,)
