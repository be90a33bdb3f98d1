"""Adapters of the bank; `make` builds the configured one."""

import datetime as dt
from collections.abc import Iterator

from django.conf import settings
from django.http.request import HttpHeaders

from outbox.going_live import Statement
from payments.gateways.base import BankNotice, Gateway


def make(*, connections: int) -> Gateway:
    """The configured gateway, for up to `connections` calls at once."""
    from payments.gateways.stripe import StripeGateway  # the SDK takes a while to import: only workers need it

    return StripeGateway(
        secret_key=settings.STRIPE_SECRET_KEY,
        api_base=settings.STRIPE_API_BASE,
        connect_timeout=settings.PAYMENT_CONNECT_TIMEOUT,
        read_timeout=settings.PAYMENT_READ_TIMEOUT,
        deadline=settings.PAYMENT_CALL_DEADLINE,
        connections=connections,
    )


def is_live() -> bool:
    """Whether real money moves with our key."""
    return str(settings.STRIPE_SECRET_KEY).startswith(("sk_live_", "rk_live_"))


def read_webhook(body: bytes, headers: HttpHeaders) -> BankNotice:
    """What a webhook of the bank says. Raises outbox.webhooks.Refused."""
    from payments.gateways import stripe

    signature = headers.get("Stripe-Signature", "")
    return stripe.read_webhook(body, signature, secrets=settings.STRIPE_WEBHOOK_SECRET, livemode=is_live())


def examine(*, live: bool, webhook_url: str, last_webhook: dt.datetime | None) -> Iterator[Statement]:
    """What is right and wrong about our account at the bank, for a store that is meant to be `live` or not."""
    from payments.gateways import stripe, stripe_account

    def connect(key: str) -> stripe.StripeGateway:
        return stripe.StripeGateway(
            secret_key=key,
            api_base=settings.STRIPE_API_BASE,
            connect_timeout=settings.PAYMENT_CONNECT_TIMEOUT,
            read_timeout=settings.PAYMENT_READ_TIMEOUT,
            deadline=settings.PAYMENT_CALL_DEADLINE,
            connections=1,
        )

    ours = stripe_account.Configured(
        secret_key=settings.STRIPE_SECRET_KEY,
        publishable_key=settings.STRIPE_PUBLISHABLE_KEY,
        signing_secrets=settings.STRIPE_WEBHOOK_SECRET,
        webhook_url=webhook_url,
        currency=settings.STORE_CURRENCY,
        api_version=stripe.API_VERSION,
        live=live,
        last_webhook=last_webhook,
    )
    return stripe_account.examine(ours, connect=connect)
