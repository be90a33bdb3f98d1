"""Payment methods: cards as the shopper gave them. A card's number is never kept."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from sandbox.bank import cards
from sandbox.bank.books import Change, new_id
from sandbox.bank.cards import TestCard
from sandbox.bank.errors import ApiError, invalid_request
from sandbox.bank.params import Params, merged_metadata
from sandbox.jsons import Json

NO_ADDRESS = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))


def create(change: Change, params: Params) -> Json:
    """Make a payment method from `card[number]` or `card[token]`: test cards only."""
    if params.required("type") != "card":
        raise invalid_request("The sandbox makes payment methods of type card only.", param="type")
    card_params = params.group("card")
    token = card_params.text("token")
    if token is not None:
        test_card = cards.BY_TOKEN.get(token)
        if test_card is None:
            raise invalid_request(f"No such token: '{token}'", param=card_params.name("token"), code="resource_missing")
        expires = _next_year(change.now)
    else:
        test_card, expires = _card_from_number(change, card_params)
    billing = _billing_details(params.group("billing_details"))
    metadata = merged_metadata({}, params.metadata())
    params.choice("allow_redisplay", ("always", "limited", "unspecified"))
    params.finish()
    method = _method(test_card, change.now, expires=expires, billing=billing, metadata=metadata)
    change.put(method)
    return method


def retrieve(change: Change, params: Params, method_id: str) -> Json:
    params.finish()
    if method_id in cards.BY_STATIC_ID:
        return _materialise(change, method_id)
    return change.require("payment_method", method_id, param="payment_method", status=404)


def resolve(change: Change, method_id: str) -> Json:
    """Return the payment method with this id; a static test id becomes a new one, as at Stripe."""
    if method_id in cards.BY_STATIC_ID:
        method = _materialise(change, method_id)
        change.put(method)
        return method
    return change.require("payment_method", method_id, param="payment_method")


def _materialise(change: Change, static_id: str) -> Json:
    billing = _billing_details(Params({}))
    card = cards.BY_STATIC_ID[static_id]
    return _method(card, change.now, expires=_next_year(change.now), billing=billing, metadata={})


def _next_year(now: int) -> tuple[int, int]:
    today = datetime.fromtimestamp(now, UTC)
    return today.month, today.year + 1


def _card_error(code: str, message: str, param: str) -> ApiError:
    error = {"type": "card_error", "code": code, "message": message, "param": param}
    return ApiError(402, error, executed=True)


def _card_from_number(change: Change, params: Params) -> tuple[TestCard, tuple[int, int]]:
    number = params.required("number").replace(" ", "").replace("-", "")
    month = params.integer("exp_month")
    year = params.integer("exp_year")
    code = params.text("cvc")
    if month is None or year is None:
        raise params.missing("exp_month" if month is None else "exp_year")
    if not re.fullmatch(r"[0-9]{12,19}", number) or not cards.passes_luhn(number):
        raise _card_error("incorrect_number", "Your card number is incorrect.", "number")
    year = year + 2000 if year < 100 else year
    if not 1 <= month <= 12:
        raise _card_error("invalid_expiry_month", "Your card's expiration month is invalid.", "exp_month")
    today = datetime.fromtimestamp(change.now, UTC)
    if (year, month) < (today.year, today.month) or year > today.year + 50:
        raise _card_error("invalid_expiry_year", "Your card's expiration year is invalid.", "exp_year")
    if code is not None and not (code.isascii() and code.isdigit() and len(code) in (3, 4)):
        raise _card_error("invalid_cvc", "Your card's security code is invalid.", "cvc")
    card = cards.BY_NUMBER.get(number)
    if card is None:
        decline = cards.LIVE_CARD
        error = _card_error(decline.code, decline.message, "number")
        error.body["error"]["decline_code"] = decline.decline_code
        raise error
    return card, (month, year)


def _billing_details(params: Params) -> Json:
    address = params.group("address")
    return {
        "address": {name: address.text(name) for name in NO_ADDRESS},
        "email": params.text("email"),
        "name": params.text("name"),
        "phone": params.text("phone"),
        "tax_id": None,
    }


def _method(card: TestCard, now: int, *, expires: tuple[int, int], billing: Json, metadata: dict[str, str]) -> Json:
    return {
        "id": new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": billing,
        card.kind: _account_details(card) if card.account else _card_details(card, expires),
        "created": now,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": metadata,
        "type": card.kind,
    }


def _card_details(card: TestCard, expires: tuple[int, int]) -> Json:
    month, year = expires
    return {
        "brand": card.brand,
        "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
        "country": "US",
        "display_brand": card.brand,
        "exp_month": month,
        "exp_year": year,
        "fingerprint": card.fingerprint,
        "funding": card.funding,
        "generated_from": None,
        "last4": card.number[-4:],
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": True},
        "wallet": None,
    }


def _account_details(account: TestCard) -> Json:
    return {
        "account_holder_type": "individual",
        "account_type": "checking",
        "bank_name": "STRIPE TEST BANK",
        "financial_connections_account": None,
        "fingerprint": account.fingerprint,
        "last4": account.number[-4:],
        "networks": {"preferred": "ach", "supported": ["ach"]},
        "routing_number": "110000000",
        "status_details": {},
    }
