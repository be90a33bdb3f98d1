"""The bank's books: every object it knows, and one request's changes to them."""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import Iterable

from sandbox.bank.errors import missing_resource
from sandbox.bank.tables import Table
from sandbox.jsons import Json

API_VERSION = "2026-10-28.endive"
NOUNS = {"payment_method": "PaymentMethod"}
"""Stripe's error messages name objects by their kind, with this exception."""


def new_id(prefix: str) -> str:
    """Return an id in Stripe's form, for example `pi_3…`."""
    return f"{prefix}_{secrets.token_hex(12)}"


class Books:
    """All objects of the bank, by kind."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {
            "payment_intent": Table(),
            "payment_method": Table(),
            "charge": Table("payment_intent", "payment_method"),
            "refund": Table("payment_intent", "charge"),
            "dispute": Table("payment_intent", "charge"),
            "event": Table(),
        }
        self.used_by: dict[str, str] = {}
        """Payment method id → the intent that was confirmed with it."""
        self.net: defaultdict[str, int] = defaultdict(int)
        """Currency → minor units charged and not refunded."""
        self._clock = 0

    def now(self) -> int:
        """Seconds since 1970; never runs backwards, so that creation order is order of `created`."""
        self._clock = max(self._clock, int(time.time()))
        return self._clock

    def apply(self, objects: Iterable[Json]) -> None:
        """Take over new versions of objects: the only way in which the books change, live or at a restart."""
        for value in objects:
            if value["object"] == "charge":
                old = self.tables["charge"].get(value["id"])
                self.net[value["currency"]] += _net(value) - (_net(old) if old else 0)
            if value["object"] == "payment_intent":
                for method in _methods_confirmed(value):
                    self.used_by[method] = value["id"]
            self.tables[value["object"]].put(value)
            self._clock = max(self._clock, value["created"])


def _net(charge: Json) -> int:
    captured: int = charge["amount_captured"] - charge["amount_refunded"]
    return captured


def _methods_confirmed(intent: Json) -> Iterable[str]:
    if intent["status"] in ("requires_action", "processing", "succeeded"):
        yield intent["payment_method"]
    if intent["last_payment_error"] is not None:
        yield intent["last_payment_error"]["payment_method"]["id"]


class Change:
    """What one request does to the books: collected, then applied as a whole with its ledger line."""

    def __init__(
        self, books: Books, *, request_id: str | None = None, key: str | None = None, webhooks: int = 0
    ) -> None:
        self.books = books
        self.now = books.now()
        self._request_id = request_id
        self._key = key
        self._webhooks = webhooks
        self._written: dict[str, Json] = {}

    def find(self, kind: str, object_id: str) -> Json | None:
        """Return the object as this request sees it: the caller's own copy, or the one it has put."""
        return self._written.get(object_id) or self.books.tables[kind].get(object_id)

    def get(self, kind: str, object_id: str) -> Json:
        """Return an object that is known to exist."""
        found = self.find(kind, object_id)
        if found is None:
            raise LookupError(f"the books lack {kind} {object_id}")
        return found

    def require(self, kind: str, object_id: str, *, param: str, status: int = 400) -> Json:
        """Return the object, or raise Stripe's `resource_missing`."""
        found = self.find(kind, object_id)
        if found is None:
            noun = NOUNS.get(kind, kind)
            raise missing_resource(noun=noun, resource_id=object_id, param=param, status=status)
        return found

    def put(self, value: Json) -> None:
        self._written[value["id"]] = value

    def event(self, event_type: str, value: Json) -> None:
        """Record an event about `value` as it is now."""
        self.put(
            {
                "id": new_id("evt"),
                "object": "event",
                "api_version": API_VERSION,
                "created": self.now,
                "data": {"object": {**value}},
                "livemode": False,
                "pending_webhooks": self._webhooks,
                "request": {"id": self._request_id, "idempotency_key": self._key},
                "type": event_type,
            }
        )

    @property
    def objects(self) -> list[Json]:
        """Every object written, in its last version."""
        return list(self._written.values())

    @property
    def events(self) -> list[Json]:
        return [value for value in self._written.values() if value["object"] == "event"]
