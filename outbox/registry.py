"""What the apps plug into the outbox: handlers of the log, feeds of it for readers outside, the workers' loops.

They are found in each installed app's `handlers`, `feeds` and `workers` modules. A wiring mistake (a name used
twice, a handler for an event that nobody declares) stops the process at start, not at the first event.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import autodiscover_modules

from outbox.doorbell import Woken
from outbox.events import Delivery, DomainEvent, type_of

Handler = Callable[[Sequence[Delivery[Any]]], None]
Start = Literal["beginning", "now"]

# Seconds between two looks of an idle loop. The doorbell does better on one machine; between machines this is the
# latency, and for whatever becomes due by the clock. FIRST is the relay's, for which all others wait.
FIRST, PROMPT, UNHURRIED = 0.04, 0.1, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscriber:
    """A handler of the log and how it wants to be fed.

    The handler gets a list of deliveries in log order, inside the transaction that moves its cursor. It
    touches only the database. With `one_per_stream` a list never holds two events of one aggregate, so the
    handler may treat its list as a set.
    """

    name: str
    types: frozenset[str]
    handle: Handler
    start: Start
    one_per_stream: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A part of the log that somebody outside reads and acknowledges by HTTP (`outbox.feeds`).

    Its cursor is a subscription like any other, but no loop moves it.
    """

    name: str
    types: frozenset[str]
    start: Start


class Work(Protocol):
    """What a loop runs: `run_once` does one bounded batch and says how many items it moved."""

    def run_once(self, *, woken: Woken) -> int: ...

    def wake_with(self, ring: Callable[[], None]) -> None:
        """Call `ring`, from any thread, when something that is under way needs the next `run_once`."""

    def close(self) -> None:
        """Finish what is under way; called once, after the last `run_once`."""


class Batches:
    """The `Work` of a function that does one whole batch: nothing is ever under way between two."""

    def __init__(self, batch: Callable[[], int]) -> None:
        self._batch = batch

    def run_once(self, *, woken: Woken) -> int:
        return self._batch()

    def wake_with(self, ring: Callable[[], None]) -> None:
        """There is never a reason to."""

    def close(self) -> None:
        """There is nothing to finish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSpec:
    """A loop that `run_workers` supervises and that the sweep runs in turn.

    `group` is the name under which people start it; `name` is also the doorbell that wakes it. `idle_seconds` is the
    longest time between two looks of an idle loop whose doorbell does not ring. A batch of fewer than `full` was all
    there was: what has come since rings.
    """

    name: str
    group: str
    make: Callable[[], Work]
    idle_seconds: float
    full: int = 1


_subscribers: dict[str, Subscriber] = {}
_feeds: dict[str, Feed] = {}
_loops: dict[str, LoopSpec] = {}


def subscribe(
    name: str,
    *events: type[DomainEvent],
    start: Start = "beginning",
    one_per_stream: bool = False,
) -> Callable[[Handler], Handler]:
    """Register the decorated function as the subscription `name` of these event types.

    Raises ImproperlyConfigured for a name that is taken or a class that is not a declared event.
    """

    def register(handler: Handler) -> Handler:
        _refuse_taken(name)
        _subscribers[name] = Subscriber(
            name=name,
            types=frozenset(type_of(event) for event in events),
            handle=handler,
            start=start,
            one_per_stream=one_per_stream,
        )
        return handler

    return register


def feed(name: str, *events: type[DomainEvent], start: Start = "beginning") -> None:
    """Offer these event types as a feed of that name, which is also the scope of its tokens.

    Raises ImproperlyConfigured for a name that is taken or a class that is not a declared event.
    """
    _refuse_taken(name)
    _feeds[name] = Feed(name=name, types=frozenset(type_of(event) for event in events), start=start)


def _refuse_taken(name: str) -> None:
    if name in _subscribers or name in _feeds:
        raise ImproperlyConfigured(f"Two readers of the log call themselves {name!r}: rename one of them.")


def unsubscribe(name: str) -> None:
    """Forget a handler or feed again (a test's own); its row and cursor stay in the database."""
    _subscribers.pop(name, None)
    _feeds.pop(name, None)


def loop(name: str, *, group: str, make: Callable[[], Work], idle_seconds: float = PROMPT, full: int = 1) -> None:
    """Register a loop. UNHURRIED is one for which nobody waits at a page. Raises ImproperlyConfigured when the name is
    taken."""
    if name in _loops:
        raise ImproperlyConfigured(f"Two loops call themselves {name!r}: rename one of them.")
    _loops[name] = LoopSpec(name=name, group=group, make=make, idle_seconds=idle_seconds, full=full)


def subscriber(name: str) -> Subscriber:
    """The subscriber of that name. Raises LookupError, listing the known ones."""
    try:
        return _subscribers[name]
    except KeyError:
        known = ", ".join(sorted(_subscribers)) or "none"
        raise LookupError(f"No handler is called {name!r}. Known: {known}.") from None


def subscribers() -> list[Subscriber]:
    return [_subscribers[name] for name in sorted(_subscribers)]


def feeds() -> list[Feed]:
    return [_feeds[name] for name in sorted(_feeds)]


def readers() -> list[Subscriber | Feed]:
    """Everybody who has a cursor on the log."""
    return [*subscribers(), *feeds()]


def groups() -> list[str]:
    return sorted({spec.group for spec in _loops.values()})


def loops(only: Iterable[str] = ()) -> list[LoopSpec]:
    """Every loop, or those whose group or name is named. Raises LookupError for an unknown name."""
    wanted = list(only)
    for name in wanted:
        if name not in _loops and name not in groups():
            known = ", ".join([*groups(), *sorted(_loops)])
            raise LookupError(f"No worker is called {name!r}. Known: {known}.")
    return [spec for spec in _loops.values() if not wanted or spec.name in wanted or spec.group in wanted]


def discover() -> None:
    """Import every app's `events`, `handlers`, `feeds` and `workers`."""
    autodiscover_modules("events")
    autodiscover_modules("handlers")
    autodiscover_modules("feeds")
    autodiscover_modules("workers")
