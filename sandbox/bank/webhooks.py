"""The bank's webhooks (docs.stripe.com/webhooks): one signed request for each event."""

from __future__ import annotations

import hashlib
import hmac
import time
from functools import partial

from sandbox.bank.bank import Bank
from sandbox.bank.books import new_id
from sandbox.faults import Faults
from sandbox.jsons import Json, dumps
from sandbox.stats import Stats
from sandbox.webhooks import Deliveries, Parcel


def signature(body: bytes, *, secret: str, timestamp: int) -> str:
    """Return the value of `Stripe-Signature`."""
    signed = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={signed}"


class BankWebhooks:
    """Sends the events of the bank, those of a former process included."""

    def __init__(self, *, bank: Bank, url: str, secret: str, faults: Faults, stats: Stats) -> None:
        self._bank = bank
        self._deliveries = Deliveries(
            op="webhook.stripe",
            url=url,
            sign=partial(self._headers, secret=secret),
            forge=partial(self._headers, secret="whsec_forged"),  # noqa: S106 - wrong on purpose
            faults=faults,
            stats=stats,
        )

    @staticmethod
    def _headers(body: bytes, *, secret: str) -> dict[str, str]:
        return {"Stripe-Signature": signature(body, secret=secret, timestamp=int(time.time()))}

    def send(self, events: list[Json]) -> None:
        for event in events:
            self._deliveries.send(self._parcel(event))

    def resume(self) -> None:
        self.send(list(self._bank.undelivered.values()))

    async def stop(self) -> None:
        await self._deliveries.stop()

    def _parcel(self, event: Json) -> Parcel:
        def accepted() -> None:
            change = self._bank.change()
            change.put({**event, "pending_webhooks": 0})
            self._bank.commit(change, {"op": "webhook.stripe", "event": event["id"]})

        def twin() -> Parcel:
            copy = {**event, "id": new_id("evt")}
            change = self._bank.change()
            change.put(copy)
            self._bank.commit(change, {"op": "events.twin", "event": copy["id"]})
            return self._parcel(copy)

        return Parcel(body=dumps(event), accepted=accepted, twin=twin)
