"""The store of one configuration, ready to be played on again and again from the same state."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

from outbox import registry
from outbox.dispatcher import dispatch_once
from outbox.relay import relay_once
from outbox.worker import Engine
from payments.gateways.base import Gateway
from tests.schedules import actors
from tests.schedules.bank import InProcessBank, Wire, WiredSession, pages_of
from tests.schedules.database import Control

Rows = dict[str, list[dict[str, Any]]]
# The one reader of the log that changes orders and payments.
ORDER_PROCESS = "order-process"
_UNTOLD = (
    "SELECT EXISTS (SELECT FROM outbox_outboxrecord) OR (SELECT position FROM outbox_loghead) > "  # noqa: S608
    f"(SELECT position FROM outbox_subscription WHERE name = '{ORDER_PROCESS}')"
)

_chance = os.urandom


def _urandom(count: int) -> bytes:
    actor = actors.current()
    return _chance(count) if actor is None else actor.draw(count)


def _touch() -> None:
    actor = actors.current()
    if actor is not None:
        actor.touched += 1


class AtOnce:
    """A pool that does what it is given in the caller's own thread, before it returns."""

    def submit(self, function: Callable[..., Any], *args: Any) -> None:
        function(*args)

    def shutdown(self, *, wait: bool) -> None:
        """Nothing is under way."""


class Stage:
    """Database, bank, clock and chance."""

    def __init__(self) -> None:
        self._control = Control()
        self.order_id = 0
        self.gateway: Gateway
        self._time = SimpleNamespace(time=lambda: self._control.now.timestamp(), monotonic=lambda: 0.0)
        self._wire = Wire()
        self._lines: list[Any] = []
        self._empty = self._begin = self.control.remember("empty")

    @contextlib.contextmanager
    def set_up(self) -> Iterator[None]:
        """Nothing but the director's choices decides what happens inside."""
        from payments import gateways

        WiredSession.wire = self._wire
        certain = SimpleNamespace(uniform=lambda _, most: most)
        with contextlib.ExitStack() as stack:
            for name, value in {
                "os.urandom": _urandom,
                "random._urandom": _urandom,
                "outbox.backoff.random": certain,
                "sandbox.bank.books.time": self._time,
                "sandbox.bank.api.time": self._time,
                "payments.gateways.stripe.time": self._time,
                "payments.gateways.stripe.DeadlineSession": WiredSession,
                "outbox.sources.requests": pages_of(self._wire),
            }.items():
                stack.enter_context(mock.patch(name, value))
            self.gateway = gateways.make(connections=1)
            stack.callback(self.control.close)
            yield

    @property
    def control(self) -> Control:
        _touch()
        return self._control

    @property
    def bank(self) -> InProcessBank:
        _touch()
        return self._wire.bank

    @property
    def wire(self) -> Wire:
        return self._wire

    def prepare(self, scene: Callable[["Stage"], None]) -> None:
        """Play the scene once; every execution begins after it."""
        self.control.reset(self._empty)
        self._wire.bank = InProcessBank(self._time)
        scene(self)
        self._begin = self.control.remember("beginning")
        self._lines = list(self.bank.ledger.lines)

    def reset(self) -> None:
        self.control.reset(self._begin)
        self._wire.bank = InProcessBank(self._time, self._lines)
        self._wire.under_way.clear()

    def rows(self) -> Rows:
        return {table: json.loads(text) for table, text in self.control.rows().items()}

    # --- what both actors and the director do with it ---------------------------------------------

    def work(self, make: Callable[..., Engine[Any, Any]]) -> None:
        """Be a worker until nothing is due, with one call at a time, in this thread."""
        engine = make(in_flight=1, gateway=self.gateway)
        engine._pool.shutdown(wait=True)
        engine._pool = AtOnce()  # type: ignore[assignment]
        while engine.run_once():
            pass

    def carry_facts(self) -> None:
        """Relay, and feed the order process, until nothing moves."""
        while relay_once() + dispatch_once(ORDER_PROCESS):
            pass

    def settle_facts(self) -> None:
        """The same, asking first whether there is anything."""
        while self.control.one(_UNTOLD):
            relay_once()
            dispatch_once(ORDER_PROCESS)

    def feed_everybody(self) -> None:
        """All readers of the log, once nothing new comes."""
        for each in registry.subscribers():
            while dispatch_once(each.name):
                pass
