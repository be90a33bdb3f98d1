"""Stripe's Event objects (docs.stripe.com/api/events/object) as notices: ids and times, and nothing else of them."""

import datetime as dt
import uuid
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from payments.gateways.base import BankNotice

T = TypeVar("T")

# What the store wants to hear of, and what its webhook endpoint at Stripe should be set to (20 at most: the limit of
# a list by types). What follows at once from our own call (…requires_action, …processing) is known from its answer.
TYPES = (
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.refund.updated",  # the same in older versions of the API
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
)

_Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_]{1,255}\Z")]
_Seconds = Annotated[int, Meta(ge=0, lt=2**32)]


class _Event(Struct, frozen=True):
    """What every event has, of whatever kind of object."""

    object: Literal["event"]
    id: _Id
    type: str
    created: _Seconds
    livemode: bool


class _Object(Struct, frozen=True):
    """An intent, a refund or a dispute; the last two name their intent."""

    id: _Id
    object: Literal["payment_intent", "refund", "dispute"]
    payment_intent: _Id | None = None
    metadata: dict[str, str] | None = None


class _Data(Struct, frozen=True):
    object: _Object


class _Body(Struct, frozen=True):
    data: _Data


def notice(event: bytes | dict[str, Any]) -> BankNotice:
    """An event as JSON, or as an object that was decoded already. One of another type than TYPES is about nothing.

    Raises ValueError for what is no event.
    """
    head = _decoded(event, _Event)
    about = _about(_decoded(event, _Body).data.object) if head.type in TYPES else {}
    created = dt.datetime.fromtimestamp(head.created, tz=dt.UTC)
    return BankNotice(event_id=head.id, type=head.type[:100], created=created, livemode=head.livemode, **about)


def _about(found: _Object) -> dict[str, Any]:
    metadata = found.metadata or {}
    match found.object:
        case "payment_intent":
            return {"intent_id": found.id, "payment_ref": _uuid(metadata.get("payment"))}
        case "refund":
            ours = _uuid(metadata.get("refund"))
            return {"refund_id": found.id, "refund_ref": ours, "intent_id": found.payment_intent or ""}
        case "dispute":
            return {"dispute_id": found.id, "intent_id": found.payment_intent or ""}


def _decoded(event: bytes | dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.json.decode(event, type=kind) if isinstance(event, bytes) else msgspec.convert(event, kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"no event of the bank: {error}") from error


def _uuid(text: str | None) -> uuid.UUID | None:
    """None for what somebody else wrote there."""
    try:
        return uuid.UUID(text)
    except (ValueError, TypeError):
        return None
