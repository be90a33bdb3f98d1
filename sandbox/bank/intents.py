"""PaymentIntents and their life (docs.stripe.com/payments/paymentintents/lifecycle)."""

from __future__ import annotations

from sandbox.bank import payment_methods
from sandbox.bank.books import Change, new_id
from sandbox.bank.confirmation import OPEN, Confirmation, attempt
from sandbox.bank.currencies import check_charge_amount, check_currency
from sandbox.bank.errors import ApiError, invalid_request, unexpected_state
from sandbox.bank.params import Params, merged_metadata
from sandbox.jsons import Json

CANCELLATION_REASONS = ("abandoned", "duplicate", "fraudulent", "requested_by_customer")
METHOD_TYPES = ("card", "us_bank_account")
KEPT = (
    "description",
    "receipt_email",
    "statement_descriptor",
    "statement_descriptor_suffix",
    "transfer_group",
)
"""Texts that are stored as they are sent."""


def create(change: Change, params: Params, *, base_url: str) -> Json:
    amount = params.integer("amount", minimum=1)
    if amount is None:
        raise params.missing("amount")
    currency = check_currency(params.required("currency"))
    check_charge_amount(amount, currency=currency)
    intent = _new_intent(change.now, amount=amount, currency=currency)
    _read_kept(intent, params)
    _read_methods(intent, params)
    if params.choice("capture_method", ("automatic", "automatic_async", "manual")) == "manual":
        raise invalid_request("The sandbox captures automatically only.", param="capture_method")
    confirming = params.boolean("confirm") or False
    method_id = params.text("payment_method")
    options = Confirmation(params)
    params.finish()
    if options.return_url is not None and not confirming:
        raise invalid_request(
            "You cannot set `return_url` when creating a PaymentIntent without `confirm` set to true.",
            param="return_url",
        )
    if method_id is not None:
        intent["payment_method"] = payment_methods.resolve(change, method_id)["id"]
        intent["status"] = "requires_confirmation"
    change.put(intent)
    return attempt(change, intent, options, base_url=base_url) if confirming else intent


def retrieve(change: Change, params: Params, intent_id: str) -> Json:
    secret = params.text("client_secret")
    params.finish()
    intent = change.require("payment_intent", intent_id, param="intent", status=404)
    if secret is not None and secret != intent["client_secret"]:
        raise invalid_request(
            "The client_secret provided does not match any associated PaymentIntent on this account.",
            param="client_secret",
            code="payment_intent_invalid_parameter",
        )
    return intent


def update(change: Change, params: Params, intent_id: str) -> Json:
    intent = change.require("payment_intent", intent_id, param="intent", status=404)
    amount = params.integer("amount", minimum=1)
    currency = params.text("currency")
    method_id = params.text("payment_method")
    _read_kept(intent, params)
    params.finish()
    for name, value in (("amount", amount), ("currency", currency), ("payment_method", method_id)):
        if value is not None and intent["status"] not in OPEN:
            raise _not_updatable(intent, name)
    if amount is not None or currency is not None:
        intent["currency"] = check_currency(currency or intent["currency"])
        intent["amount"] = amount if amount is not None else intent["amount"]
        check_charge_amount(intent["amount"], currency=intent["currency"])
    if method_id is not None:
        _give_method(change, intent, method_id)
    change.put(intent)
    return intent


def confirm(change: Change, params: Params, intent_id: str, *, base_url: str) -> Json:
    intent = change.require("payment_intent", intent_id, param="intent", status=404)
    method_id = params.text("payment_method")
    params.text("client_secret")
    _read_kept(intent, params)
    options = Confirmation(params)
    params.finish()
    if method_id is not None:
        if intent["status"] not in OPEN:
            raise _not_updatable(intent, "payment_method")
        _give_method(change, intent, method_id)
    return attempt(change, intent, options, base_url=base_url)


def cancel(change: Change, params: Params, intent_id: str) -> Json:
    intent = change.require("payment_intent", intent_id, param="intent", status=404)
    reason = params.choice("cancellation_reason", CANCELLATION_REASONS)
    params.finish()
    if intent["status"] not in OPEN:
        raise unexpected_state(
            f"You cannot cancel this PaymentIntent because it has a status of {intent['status']}. Only a "
            "PaymentIntent with one of the following statuses may be canceled: requires_payment_method, "
            "requires_capture, requires_confirmation, requires_action, processing.",
            intent=intent,
        )
    intent |= {
        "status": "canceled",
        "canceled_at": change.now,
        "cancellation_reason": reason,
        "next_action": None,
    }
    change.put(intent)
    change.event("payment_intent.canceled", intent)
    return intent


def _read_kept(intent: Json, params: Params) -> None:
    for name in KEPT:
        if name in params:
            intent[name] = params.text(name)
    if "shipping" in params:
        intent["shipping"] = params.tree("shipping")
    intent["metadata"] = merged_metadata(intent["metadata"], params.metadata())


def _read_methods(intent: Json, params: Params) -> None:
    """Read which kinds of payment are allowed; automatic ones, if nothing is said (since 2023-08-16)."""
    automatic = params.group("automatic_payment_methods")
    enabled = automatic.boolean("enabled")
    redirects = automatic.choice("allow_redirects", ("always", "never")) or "always"
    types = params.words("payment_method_types")
    if types and enabled:
        raise invalid_request(
            "You may only specify one of these parameters: automatic_payment_methods, payment_method_types."
        )
    if not set(types) <= set(METHOD_TYPES):
        raise invalid_request(
            f"The sandbox knows these types of payment: {', '.join(METHOD_TYPES)}.", param="payment_method_types"
        )
    intent["payment_method_types"] = types or list(METHOD_TYPES)
    if not types and enabled is not False:
        intent["automatic_payment_methods"] = {"allow_redirects": redirects, "enabled": True}


def _not_updatable(intent: Json, name: str) -> ApiError:
    return unexpected_state(
        f"This PaymentIntent's {name} could not be updated because it has a status of {intent['status']}. "
        f"You may only update the {name} of a PaymentIntent with one of the following statuses: "
        f"{', '.join(OPEN)}.",
        intent=intent,
    )


def _give_method(change: Change, intent: Json, method_id: str) -> None:
    if method_id == intent["payment_method"]:
        return
    intent["payment_method"] = payment_methods.resolve(change, method_id)["id"]
    intent["status"] = "requires_confirmation"
    intent["next_action"] = None


def _new_intent(now: int, *, amount: int, currency: str) -> Json:
    intent_id = new_id("pi")
    return {
        "id": intent_id,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": new_id(f"{intent_id}_secret"),
        "confirmation_method": "automatic",
        "created": now,
        "currency": currency,
        "customer": None,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {
            "card": {
                "installments": None,
                "mandate_options": None,
                "network": None,
                "request_three_d_secure": "automatic",
            }
        },
        "payment_method_types": [],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }
