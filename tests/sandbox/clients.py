"""The official SDKs, set to talk to a sandbox, and short ways to say what most tests need."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import stripe
from sendgrid import SendGridAPIClient

from tests.sandbox_process import SandboxProcess

T = TypeVar("T")
SETTLE_SECONDS = 0.2
"""Of the sandboxes in these tests."""
WAIT_SECONDS = 10.0
"""How long a test waits for what happens by itself."""
RETURN_URL = "http://store.example/return?order=7"


def stripe_client(process: SandboxProcess, *, key: str = "sk_test_tests") -> stripe.StripeClient:
    return stripe.StripeClient(
        key,
        base_addresses={"api": process.url},
        max_network_retries=0,
        http_client=stripe.RequestsClient(timeout=(3, 10)),
    )


def mail_client(process: SandboxProcess, *, key: str = "SG.tests") -> SendGridAPIClient:
    client = SendGridAPIClient(key, host=process.url)
    client.client.timeout = 10
    return client


def new_key() -> str:
    return uuid.uuid4().hex


def created(bank: stripe.StripeClient, *, amount: int = 1999, **more: Any) -> stripe.PaymentIntent:
    params: Any = {"amount": amount, "currency": "eur", **more}
    return bank.v1.payment_intents.create(params)


def confirmed(bank: stripe.StripeClient, intent_id: str, method: str, **more: Any) -> stripe.PaymentIntent:
    params: Any = {"payment_method": method, "return_url": RETURN_URL, **more}
    return bank.v1.payment_intents.confirm(intent_id, params, {"idempotency_key": new_key()})


def paid(bank: stripe.StripeClient, *, amount: int = 1999, method: str = "pm_card_visa") -> stripe.PaymentIntent:
    return confirmed(bank, created(bank, amount=amount).id, method)


def eventually(look: Callable[[], T | None], *, what: str) -> T:
    """Return the first result of `look` that is something."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {WAIT_SECONDS} s for {what}")
