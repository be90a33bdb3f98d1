"""What tests of webhooks do over and over: wait for what the providers send, or send it themselves."""

import base64
import json
import secrets
import time
import uuid
from typing import Any

import requests
import stripe
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.conf import settings
from sendgrid.helpers.eventwebhook import EventWebhookHeader

from payments.models import BankEvent, Payment
from tests.integration.payments.scene import Scene
from tests.local.waiting import wait_until
from tests.sandbox_process import SandboxProcess
from tests.web_process import WebProcess

Json = dict[str, Any]


def bank_event(*, about: Json, type: str = "payment_intent.succeeded", **changes: Any) -> Json:
    """An event as the bank writes it, about an object."""
    return {
        "id": f"evt_{secrets.token_hex(12)}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": int(time.time()),
        "data": {"object": about},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": type,
        **changes,
    }


def an_intent(*, payment: uuid.UUID | str = "", **changes: Any) -> Json:
    found = {"id": f"pi_{secrets.token_hex(12)}", "object": "payment_intent", "status": "succeeded", "amount": 1250}
    return {**found, "metadata": {"payment": str(payment)} if payment else {}, **changes}


def signed_by_bank(body: bytes, *, secret: str | None = None, age: int = 0) -> dict[str, str]:
    timestamp = int(time.time()) - age
    secret = settings.STRIPE_WEBHOOK_SECRET[0] if secret is None else secret
    return {
        "Stripe-Signature": stripe.WebhookSignature.generate_signature_header(
            body.decode(errors="surrogateescape"), secret, timestamp
        )
    }


def signed_by_mail(body: bytes, key: ec.EllipticCurvePrivateKey, *, age: int = 0) -> dict[str, str]:
    timestamp = str(int(time.time()) - age)
    signature = key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    return {
        EventWebhookHeader.SIGNATURE: base64.b64encode(signature).decode(),
        EventWebhookHeader.TIMESTAMP: timestamp,
    }


def private_key(sandbox: SandboxProcess) -> ec.EllipticCurvePrivateKey:
    pem = (sandbox.data / "sendgrid_private_key.pem").read_bytes()
    key = serialization.load_pem_private_key(pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


class World(Scene):
    """Payments, workers, a bank that speaks, and a web server that listens."""

    def __init__(self, web: WebProcess, sandbox: SandboxProcess) -> None:
        super().__init__(sandbox)
        self.web = web

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        """The status of the answer."""
        answer = requests.post(
            f"{self.web.url}/webhooks/{path}/",
            data=body,
            headers={"Content-Type": "application/json", **headers},
            timeout=20,
        )
        return answer.status_code

    def tell(self, event: Json, **signing: Any) -> int:
        """Post an event as the bank would."""
        body = json.dumps(event).encode()
        return self.post("stripe", body, signed_by_bank(body, **signing))

    def tell_mail(self, events: object, **signing: Any) -> int:
        """Post a batch as the mail provider would."""
        body = json.dumps(events).encode()
        return self.post("sendgrid", body, signed_by_mail(body, private_key(self.sandbox), **signing))

    def answer_3ds(self, payment: Payment, outcome: str) -> None:
        """The customer answers at the bank's page."""
        address = f"{self.sandbox.url}/3ds/{self.fresh(payment).intent_id}"
        requests.post(address, data={"outcome": outcome}, allow_redirects=False, timeout=10).raise_for_status()

    def heard(self, payment: Payment, type: str, *, count: int = 1) -> list[BankEvent]:
        """Wait until so many events of this type about the payment's intent are here."""
        found: list[BankEvent] = []

        def look() -> bool:
            intent_id = self.fresh(payment).intent_id
            found[:] = BankEvent.objects.filter(intent_id=intent_id, type=type)
            return len(found) >= count

        wait_until(look)
        assert len(found) == count
        return found

    def deliveries(self, event: BankEvent) -> int:
        """How often the bank has seen this event being accepted."""
        return sum(1 for line in self.sandbox.ledger(book="bank") if line.get("event") == event.event_id)
