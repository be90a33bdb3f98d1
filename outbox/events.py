"""Typed, versioned, frozen events and the envelope they travel in.

An event is a fact with ids, amounts (minor units) and codes; never personal data, because the log is
append-only and a person's data must stay erasable.
"""

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
from django.core.exceptions import ImproperlyConfigured

from outbox.context import Context


class DomainEvent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all events; subclasses are declared with `@event`."""

    TYPE: ClassVar[str] = ""
    VERSION: ClassVar[int] = 0
    AGGREGATE: ClassVar[str] = ""
    KEY: ClassVar[str] = ""

    @property
    def aggregate_id(self) -> str:
        """The stream that keeps this event in order."""
        return str(getattr(self, self.KEY))


EventT = TypeVar("EventT", bound=DomainEvent)

_registry: dict[tuple[str, int], type[DomainEvent]] = {}


class UnknownEventVersion(Exception):
    """This build does not know that version of the event: a newer build is being rolled out."""


class MalformedEvent(Exception):
    """The payload does not have the declared shape."""


def event(name: str, *, version: int, aggregate: str, key: str) -> Callable[[type[EventT]], type[EventT]]:
    """Declare an event: its type name and version, the kind of its aggregate and the field with its id.

    Raises ImproperlyConfigured when that name and version are declared twice, or the key is no field.
    """

    def declare(cls: type[EventT]) -> type[EventT]:
        if (name, version) in _registry:
            raise ImproperlyConfigured(f"Event {name} version {version} is declared twice.")
        if key not in cls.__struct_fields__:
            raise ImproperlyConfigured(f"Event {name} has no field {key!r} to name its aggregate.")
        cls.TYPE, cls.VERSION, cls.AGGREGATE, cls.KEY = name, version, aggregate, key
        _registry[name, version] = cls
        return cls

    return declare


def type_of(cls: type[DomainEvent]) -> str:
    """The declared type name. Raises ImproperlyConfigured for a class without `@event`."""
    if _registry.get((cls.TYPE, cls.VERSION)) is not cls:
        raise ImproperlyConfigured(f"{cls.__name__} is not a declared event: decorate it with @event.")
    return cls.TYPE


def declared() -> dict[tuple[str, int], type[DomainEvent]]:
    """Every declared event by (type, version)."""
    return dict(_registry)


def encode(event: DomainEvent) -> dict[str, Any]:
    """The payload as JSON-ready builtins."""
    payload: dict[str, Any] = msgspec.to_builtins(event)
    return payload


def decode(type_name: str, version: int, payload: str) -> DomainEvent:
    """The typed event of a payload in JSON. Raises UnknownEventVersion or MalformedEvent; extra fields are refused."""
    cls = _registry.get((type_name, version))
    if cls is None:
        raise UnknownEventVersion(f"{type_name} version {version} is not known to this build")
    try:
        return msgspec.json.decode(payload, type=cls, strict=True)
    except msgspec.DecodeError as error:
        raise MalformedEvent(f"{type_name} version {version}: {error}") from error


class Delivery(msgspec.Struct, Generic[EventT], frozen=True):
    """An event on its way to a handler, with its place in the log; `headers` are JSON."""

    position: int
    id: uuid.UUID
    aggregateid: str
    created_at: dt.datetime
    headers: str
    event: EventT

    @property
    def context(self) -> Context:
        """What it was published in."""
        return Context.from_headers(msgspec.json.decode(self.headers))

    @property
    def consequence(self) -> Context:
        """The context for what the handler does because of this event."""
        return self.context.because_of(self.id)
