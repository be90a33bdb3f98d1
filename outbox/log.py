"""Reading the log: what lies between two positions, past the ORM, whose models would cost more than all the rest."""

import datetime as dt
import uuid
from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec

from outbox import prepared
from outbox.events import Delivery, DomainEvent, decode
from outbox.models import ParkedEvent

# Payload and headers as the text that they are decoded from once, by whoever needs them.
_COLUMNS = "position, id, aggregatetype, aggregateid, type, version, payload::text, headers::text, created_at"

_HEAD = b"SELECT position FROM outbox_loghead"
_BETWEEN = f"""
SELECT {_COLUMNS} FROM outbox_event
WHERE position > %(after)s::bigint AND position <= %(through)s::bigint AND type = ANY (%(types)s)
ORDER BY position LIMIT %(limit)s::int
""".encode()  # noqa: S608 - names of our own


class Logged(NamedTuple):
    """An event at its place in the log; `payload` and `headers` are JSON."""

    position: int
    id: uuid.UUID
    aggregatetype: str
    aggregateid: str
    type: str
    version: int
    payload: str
    headers: str
    created_at: dt.datetime

    @classmethod
    def of(cls, parked: ParkedEvent) -> "Logged":
        """A parked event as the log has it, or had it before it was purged."""
        values = {name: getattr(parked, name) for name in cls._fields}
        return cls(**values | {name: msgspec.json.encode(values[name]).decode() for name in ("payload", "headers")})

    def columns(self) -> dict[str, Any]:
        """For a model that carries an envelope and a position."""
        decoded = {name: msgspec.json.decode(getattr(self, name)) for name in ("payload", "headers")}
        return self._asdict() | decoded

    def delivery(self) -> Delivery[DomainEvent]:
        """Typed. Raises UnknownEventVersion or MalformedEvent."""
        return Delivery(
            position=self.position,
            id=self.id,
            aggregateid=self.aggregateid,
            created_at=self.created_at,
            headers=self.headers,
            event=decode(self.type, self.version, self.payload),
        )


def head() -> int:
    """The last position that was handed out. Everything up to it is committed, and visible to the next statement."""
    ((position,),) = prepared.run(_HEAD, {})
    return int(position)


def between(*, after: int, through: int, types: Collection[str], limit: int) -> list[Logged]:
    """The first so many events of these types in (after, through]."""
    limits = {"after": str(after), "through": str(through), "limit": str(limit)}
    return [Logged(*row) for row in prepared.run(_BETWEEN, {**limits, "types": sorted(types)})]
