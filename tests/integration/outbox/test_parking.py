"""Poison in the stream, and the repairs."""

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from outbox import parking, registry, subscriptions
from outbox.dispatcher import dispatch_once
from outbox.events import Delivery
from outbox.models import Decision, OutboxRecord, ParkedEvent, Subscription
from tests.integration.outbox.things import dispatch_all, note, relay_all, seen, step, subscribed


class Fragile:
    """A handler that fails on poison until it is healed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.healed = False

    def __call__(self, deliveries: Sequence[Delivery[Any]]) -> None:
        note(self.name, deliveries)  # rolled back with the failure: no half batch
        if not self.healed and any(type(each.event).__name__ == "Poisoned" for each in deliveries):
            raise ValueError("poison")


@pytest.fixture
def fragile() -> Iterator[Fragile]:
    handler = Fragile("fragile")
    with subscribed("fragile", handler):
        yield handler


def make_due() -> None:
    ParkedEvent.objects.filter(due_at__isnull=False).update(due_at=Now() - dt.timedelta(seconds=1))


def statuses() -> list[tuple[int, str]]:
    return list(ParkedEvent.objects.order_by("position").values_list("position", "status"))


def test_a_poison_event_blocks_its_own_stream_only(fragile: Fragile) -> None:
    for number in range(40):
        step(number)
    step(7, poisoned=True)  # position 41
    for number in range(40):
        step(number)
    relay_all()
    assert dispatch_once("fragile") == 81
    assert [(counter, reached) for _, counter, reached in seen("fragile") if counter == 7] == [(7, 1)]
    assert len(seen("fragile")) == 79
    assert statuses() == [(41, "retrying"), (49, "queued")]
    parked = ParkedEvent.objects.get(position=41)
    assert "ValueError: poison" in parked.error
    assert parked.payload == {"counter": 7, "step": 2}

    step(7)  # arrives in a later batch, and still waits its turn
    relay_all()
    dispatch_once("fragile")
    assert statuses() == [(41, "retrying"), (49, "queued"), (82, "queued")]

    fragile.healed = True
    make_due()
    dispatch_all("fragile")
    assert statuses() == []
    assert [reached for _, counter, reached in seen("fragile") if counter == 7] == [1, 2, 3, 4]


def test_tries_are_bounded_then_a_person_decides(fragile: Fragile) -> None:
    step(1, poisoned=True)
    step(1)
    relay_all()
    dispatch_once("fragile")
    for _ in range(parking.MAX_TRIES):
        make_due()
        dispatch_once("fragile")
    assert statuses() == [(1, "waiting"), (2, "queued")]
    assert ParkedEvent.objects.get(position=1).attempts == parking.MAX_TRIES

    with pytest.raises(parking.NotParked, match="waits behind"):
        parking.skip(subscription="fragile", position=2, actor="olga", reason="impatient")
    with pytest.raises(ValueError, match="reason"):
        parking.skip(subscription="fragile", position=1, actor="olga", reason=" ")
    parking.skip(subscription="fragile", position=1, actor="olga", reason="known to be broken")
    dispatch_all("fragile")
    assert [position for position, _, _ in seen("fragile")] == [2]
    with pytest.raises(parking.NotParked, match="somebody may have resolved it"):
        parking.skip(subscription="fragile", position=1, actor="omar", reason="me too")
    decision = Decision.objects.get()
    assert (decision.kind, decision.subject, decision.actor) == ("skip", "outbox.parkedevent", "olga")
    assert decision.reason == "known to be broken"
    assert decision.before.startswith("waiting for fragile at 1: ")


def test_a_person_retries(fragile: Fragile) -> None:
    step(1, poisoned=True)
    relay_all()
    dispatch_once("fragile")
    ParkedEvent.objects.update(status="waiting", due_at=None, attempts=parking.MAX_TRIES)
    fragile.healed = True
    parking.retry(subscription="fragile", position=1, actor="olga", reason="repaired")
    dispatch_all("fragile")
    assert statuses() == []
    assert len(seen("fragile")) == 1


def test_an_unknown_version_is_retried_without_end(fragile: Fragile) -> None:
    step(1)
    OutboxRecord.objects.update(version=99)
    relay_all()
    dispatch_once("fragile")
    ParkedEvent.objects.update(attempts=F("attempts") + 1000)
    make_due()
    dispatch_once("fragile")
    assert statuses() == [(1, "retrying")]
    ParkedEvent.objects.update(version=1)  # as the newer build would know it
    make_due()
    dispatch_once("fragile")
    assert len(seen("fragile")) == 1


def test_replay_gives_everything_again_and_clears_what_is_parked_there(fragile: Fragile) -> None:
    step(1)
    step(1, poisoned=True)
    step(2)
    relay_all()
    dispatch_once("fragile")
    fragile.healed = True
    subscriptions.replay(name="fragile", position=2, actor="olga", reason="fixed")
    assert statuses() == []
    dispatch_all("fragile")
    assert [position for position, _, _ in seen("fragile")] == [1, 3, 2, 3]
    with pytest.raises(subscriptions.ReplayTooFar):
        subscriptions.replay(name="fragile", position=5, actor="olga", reason="future")


def test_a_paused_subscription_waits(fragile: Fragile) -> None:
    step(1)
    relay_all()
    subscriptions.set_paused(name="fragile", paused=True, actor="olga", reason="deploy")
    assert dispatch_once("fragile") == 0
    subscriptions.set_paused(name="fragile", paused=False, actor="olga", reason="done")
    assert dispatch_once("fragile") == 1


def test_a_held_cursor_is_not_waited_for(fragile: Fragile) -> None:
    step(1)
    relay_all()
    with transaction.atomic():
        subscriptions.lock("fragile")
        other = connection.copy()
        try:
            with other.cursor() as cursor:
                cursor.execute(
                    "SELECT name FROM outbox_subscription WHERE name = 'fragile' FOR NO KEY UPDATE SKIP LOCKED"
                )
                assert cursor.fetchone() is None
        finally:
            other.close()
    assert dispatch_once("fragile") == 1


def test_a_passing_database_error_is_retried_and_never_parked() -> None:
    calls: list[int] = []

    def deadlocks_once(deliveries: Sequence[Delivery[Any]]) -> None:
        calls.append(len(deliveries))
        if len(calls) == 1:
            with connection.cursor() as cursor:
                cursor.execute("DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$")
        note("unlucky", deliveries)

    with subscribed("unlucky", deadlocks_once):
        step(1, times=3)
        relay_all()
        with pytest.raises(OperationalError):
            dispatch_once("unlucky")
        assert Subscription.objects.get(name="unlucky").position == 0
        assert dispatch_once("unlucky") == 3
    assert calls == [3, 3]
    assert statuses() == []


def test_a_broken_batch_is_halved_and_each_half_is_whole() -> None:
    sizes: list[int] = []

    def handler(deliveries: Sequence[Delivery[Any]]) -> None:
        sizes.append(len(deliveries))
        note("halves", deliveries)
        if any(each.event.counter == 5 for each in deliveries):
            raise ValueError

    with subscribed("halves", handler):
        for number in range(8):
            step(number)
        relay_all()
        dispatch_once("halves")
    assert sizes == [8, 8, 4, 4, 2, 1, 1, 2]  # the first without a savepoint
    assert [counter for _, counter, _ in seen("halves")] == [0, 1, 2, 3, 4, 6, 7]


def test_wiring_mistakes_stop_at_start() -> None:
    from django.core.exceptions import ImproperlyConfigured

    def handler(deliveries: Sequence[Delivery[Any]]) -> None: ...

    with subscribed("taken"), pytest.raises(ImproperlyConfigured, match="Two readers"):
        registry.subscribe("taken")(handler)
    from outbox.events import DomainEvent, event

    class Undeclared(DomainEvent, frozen=True):
        counter: int

    with pytest.raises(ImproperlyConfigured, match="not a declared event"):
        registry.subscribe("undeclared", Undeclared)(handler)
    with pytest.raises(ImproperlyConfigured, match="declared twice"):
        event("Stepped", version=1, aggregate="counter", key="counter")(Undeclared)
    with pytest.raises(LookupError, match="Known"):
        dispatch_once("nobody")
