"""Who caused what: the headers that travel with every event and every claimed row.

`correlation_id` names the whole story (one order's life), `causation_id` the event that directly caused
this one, `traceparent` is W3C Trace Context (w3.org/TR/trace-context), `actor` is who acted: `shopper`,
`system`, `operator:<name>`, or `partner:<name>` for a machine outside. No personal data.
"""

import re
import secrets
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec

_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Context(msgspec.Struct, frozen=True, kw_only=True):
    correlation_id: str
    traceparent: str
    causation_id: str = ""
    actor: str = "system"

    @classmethod
    def new(cls, *, actor: str = "system", traceparent: str = "") -> "Context":
        """A new story. A malformed `traceparent` from outside is replaced, as the standard asks."""
        return cls(correlation_id=str(uuid.uuid4()), traceparent=_well_formed(traceparent), actor=actor)

    @classmethod
    def from_headers(cls, headers: dict[str, str]) -> "Context":
        """The context that `headers()` wrote; missing parts start a new story."""
        return cls(
            correlation_id=headers.get("correlation_id") or str(uuid.uuid4()),
            causation_id=headers.get("causation_id", ""),
            traceparent=_well_formed(headers.get("traceparent", "")),
            actor=headers.get("actor", "system"),
        )

    def headers(self) -> dict[str, str]:
        return {
            "correlation_id": self.correlation_id,
            "causation_id": self.causation_id,
            "traceparent": self.traceparent,
            "actor": self.actor,
        }

    def because_of(self, event_id: uuid.UUID) -> "Context":
        """The context for what this event causes: same story and trace, a new span."""
        version, trace, _, flags = self.traceparent.split("-")
        return Context(
            correlation_id=self.correlation_id,
            causation_id=str(event_id),
            traceparent=f"{version}-{trace}-{secrets.token_hex(8)}-{flags}",
            actor="system",
        )


def _well_formed(traceparent: str) -> str:
    """Another one in its place where it is not."""
    if _TRACEPARENT.fullmatch(traceparent):
        return traceparent
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"


_current: ContextVar[Context | None] = ContextVar("outbox_context", default=None)


def bound_now() -> Context | None:
    """The context that somebody bound to what runs now."""
    return _current.get()


def current() -> Context:
    """The context of what runs now; a new story where nobody bound one."""
    return _current.get() or Context.new()


@contextmanager
def bound(context: Context) -> Iterator[Context]:
    """Everything published inside belongs to `context`."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)
