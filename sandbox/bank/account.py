"""The account itself and what its owner has arranged (docs.stripe.com/api/accounts, /webhook_endpoints,
/country_specs)."""

from __future__ import annotations

from sandbox.arrangements import Arrangements
from sandbox.bank.books import API_VERSION, Change
from sandbox.bank.credentials import ACCOUNT_ID
from sandbox.bank.params import Params
from sandbox.jsons import Json

OPENED_AT = 1_700_000_000
"""Seconds: when the account and its endpoints were made."""


def account(change: Change, params: Params, *, arrangements: Arrangements) -> Json:
    params.finish()
    return {
        "id": ACCOUNT_ID,
        "object": "account",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "country": "US",
        "created": OPENED_AT,
        "default_currency": "usd",
        "details_submitted": True,
        "email": None,
        "payouts_enabled": False,
        "type": "standard",
        **arrangements["account"],
    }


def webhook_endpoints(change: Change, params: Params, *, arrangements: Arrangements) -> Json:
    """All of them on one page. The secret is never shown: Stripe tells it once, at the endpoint's creation."""
    params.integer("limit", minimum=1)
    params.finish()
    data = [
        {
            "id": f"we_sandbox{number}",
            "object": "webhook_endpoint",
            "api_version": API_VERSION,
            "application": None,
            "created": OPENED_AT,
            "description": None,
            "enabled_events": endpoint.get("enabled_events", ["*"]),
            "livemode": False,
            "metadata": {},
            "status": endpoint.get("status", "enabled"),
            "url": endpoint["url"],
        }
        for number, endpoint in enumerate(arrangements["webhook_endpoints"], start=1)
    ]
    return {"object": "list", "data": data, "has_more": False, "url": "/v1/webhook_endpoints"}


def country_spec(change: Change, params: Params, country: str, *, arrangements: Arrangements) -> Json:
    params.finish()
    return {
        "id": country,
        "object": "country_spec",
        "default_currency": "usd",
        "supported_bank_account_currencies": {"usd": [country]},
        "supported_payment_currencies": arrangements["currencies"],
        "supported_payment_methods": ["card"],
        "supported_transfer_countries": [country],
        "verification_fields": {
            "company": {"additional": [], "minimum": []},
            "individual": {"additional": [], "minimum": []},
        },
    }
