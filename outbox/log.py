"""Reading the log: what a reader has before it, past the ORM, whose models would cost more than all the rest."""

import datetime as dt
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from outbox import prepared
from outbox.events import Delivery, DomainEvent, decode
from outbox.models import ParkedEvent

# Payload and headers as the text that they are decoded from once, by whoever needs them.
_COLUMNS = "position, id, aggregatetype, aggregateid, type, version, payload::text, headers::text, created_at"

# One statement, so that head, events and what is parked are of one moment. The relay writes head and events in one
# transaction, so that everything up to the head is there.
_AHEAD = f"""
SELECT head.position, EXISTS (SELECT FROM outbox_parkedevent WHERE subscription_id = %(name)s), event.*
FROM outbox_loghead AS head LEFT JOIN LATERAL (
    SELECT {_COLUMNS} FROM outbox_event
    WHERE position > %(after)s::bigint AND position <= head.position AND type = ANY (%(types)s)
    ORDER BY position LIMIT %(limit)s::int
) AS event ON true
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """What a reader has before it: its events, which are all of its types up to `through`. `parked` says whether
    anything of this reader is parked."""

    events: list[Logged]
    through: int
    parked: bool


def ahead(name: str, *, after: int, types: Collection[str], limit: int) -> Ahead:
    """For the reader of this name, who has read everything up to `after` and holds its cursor's lock."""
    asked = {"name": name, "after": str(after), "limit": str(limit)}
    rows = prepared.run(_AHEAD, {**asked, "types": prepared.texts(sorted(types))})
    head, parked, *first = rows[0]
    events = [Logged(*row[2:]) for row in rows] if first[0] is not None else []
    return Ahead(events=events, through=events[-1].position if len(events) == limit else head, parked=parked)
