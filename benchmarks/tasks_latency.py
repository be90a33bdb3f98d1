"""The two processes between which the latency of an idle machine is measured: one commits a fact now and then, the
other runs the loops as `run_workers outbox` does, with one handler more, which notes the clock."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.db import connection, transaction

from outbox import registry, subscriptions
from outbox.dispatcher import dispatch_once
from outbox.events import Delivery
from outbox.loops import Loop
from outbox.publisher import publish
from outbox.relay import bell
from shop.events import InventoryReserved

NAME = "bench-clock"
# The number of the first event: no order has it, whose own events are in the log too.
FIRST = 1_000_000


def listen(*, events: int, seconds: float) -> Callable[[], dict[int, int]]:
    """When the handler was given each event: monotonic nanoseconds by number. Ends with the last one, or after so many
    seconds."""
    heard: dict[int, int] = {}
    complete = threading.Event()

    def handle(deliveries: Sequence[Delivery[Any]]) -> None:
        now = time.monotonic_ns()
        heard.update({each.event.order_id: now for each in deliveries if each.event.order_id >= FIRST})
        if len(heard) >= events:
            complete.set()

    registry.subscribe(NAME, InventoryReserved)(handle)
    subscriptions.ensure_all()
    connection.close()
    registry.loop(bell(NAME), group="outbox", make=lambda: registry.Batches(partial(dispatch_once, NAME)))
    loops = [Loop(spec) for spec in registry.loops(only=["outbox"])]
    threads = [threading.Thread(target=loop.run, name=loop.name, daemon=True) for loop in loops]
    for thread in threads:
        thread.start()

    def work() -> dict[int, int]:
        complete.wait(seconds)
        for loop in loops:
            loop.stop()
        for thread in threads:
            thread.join()
        return heard

    return work


def publish_beats(*, events: int, shortest: float, longest: float, seed: int) -> Callable[[], dict[int, int]]:
    """Commit one event after each pause of so many seconds; when each was committed, as above."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    connection.ensure_connection()
    committed: dict[int, int] = {}

    def note(number: int) -> None:
        committed[number] = time.monotonic_ns()

    def work() -> dict[int, int]:
        for number in range(FIRST, FIRST + events):
            # The pause is the load: nothing is waited for.
            time.sleep(dice.uniform(shortest, longest))
            with transaction.atomic():
                transaction.on_commit(partial(note, number))  # before the doorbell's
                publish(InventoryReserved(order_id=number, lines=()))
        return committed

    return work
