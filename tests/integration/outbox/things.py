"""A small domain of the tests' own: counters that publish every step."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

from outbox import registry, subscriptions
from outbox.dispatcher import dispatch_once
from outbox.events import Delivery, DomainEvent, event
from outbox.publisher import publish
from outbox.relay import relay_once


@event("Stepped", version=1, aggregate="counter", key="counter")
class Stepped(DomainEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    counter: int
    step: int


@event("Poisoned", version=1, aggregate="counter", key="counter")
class Poisoned(DomainEvent, frozen=True, kw_only=True, forbid_unknown_fields=True):
    counter: int
    step: int


def create_tables() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS test_counter (id int PRIMARY KEY, step int NOT NULL DEFAULT 0);"
            "CREATE TABLE IF NOT EXISTS test_seen (number bigserial PRIMARY KEY, subscription text, position bigint,"
            " counter int, step int);"
            "TRUNCATE test_counter, test_seen"
        )


def drop_tables() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS test_counter, test_seen")


def step(counter: int, *, times: int = 1, poisoned: bool = False, slow: float = 0.0) -> None:
    """Raise the counter and publish each step, in one transaction that takes at least `slow` seconds."""
    cls = Poisoned if poisoned else Stepped
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO test_counter VALUES (%s, 0) ON CONFLICT (id) DO UPDATE SET step = test_counter.step"
            " RETURNING step",
            [counter],
        )
        (reached,) = cursor.fetchone()
        publish(*(cls(counter=counter, step=reached + each) for each in range(1, times + 1)))
        cursor.execute("UPDATE test_counter SET step = step + %s WHERE id = %s", [times, counter])
        if slow:
            cursor.execute("SELECT pg_sleep(%s)", [slow])


def note(subscription: str, deliveries: Sequence[Delivery[Any]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO test_seen (subscription, position, counter, step) VALUES (%s, %s, %s, %s)",
            [(subscription, each.position, each.event.counter, each.event.step) for each in deliveries],
        )


def seen(subscription: str) -> list[tuple[int, int, int]]:
    """(position, counter, step) in the order of handling."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT position, counter, step FROM test_seen WHERE subscription = %s ORDER BY number",
            [subscription],
        )
        return list(cursor.fetchall())


@contextmanager
def subscribed(
    name: str,
    handler: registry.Handler | None = None,
    *,
    types: Sequence[type[DomainEvent]] = (Stepped, Poisoned),
    start: registry.Start = "beginning",
    one_per_stream: bool = False,
) -> Iterator[str]:
    """A subscription for the time of a test; without a handler it notes what it sees."""
    registry.subscribe(name, *types, start=start, one_per_stream=one_per_stream)(
        handler or (lambda deliveries: note(name, deliveries))
    )
    try:
        subscriptions.ensure_all()
        yield name
    finally:
        registry.unsubscribe(name)


def relay_all() -> int:
    total = 0
    while moved := relay_once():
        total += moved
    return total


def dispatch_all(name: str) -> int:
    total = 0
    while handled := dispatch_once(name):
        total += handled
    return total
