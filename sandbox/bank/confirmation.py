"""Confirming a PaymentIntent: the card is charged, declined, or its holder is asked first."""

from __future__ import annotations

from contextlib import suppress
from urllib.parse import quote

from sandbox.bank import cards
from sandbox.bank.books import Books, Change
from sandbox.bank.cards import AUTHENTICATION_REQUIRED, Decline
from sandbox.bank.charges import charge_method, conclude
from sandbox.bank.errors import ApiError, invalid_request, unexpected_state
from sandbox.bank.params import Params
from sandbox.jsons import Json

OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")
"""The statuses in which an intent may still change."""


class Confirmation:
    """The parameters that only a confirmation has."""

    def __init__(self, params: Params) -> None:
        self.return_url = params.text("return_url")
        self.off_session = params.boolean("off_session") or False
        self.refuse_action = params.boolean("error_on_requires_action") or False
        self.handled_by_script = params.boolean("use_stripe_sdk") or False
        options = params.group("payment_method_options").group("card")
        requested = options.choice("request_three_d_secure", ("any", "automatic", "challenge"))
        self.authenticate = requested in ("any", "challenge")


def attempt(change: Change, intent: Json, options: Confirmation, *, base_url: str) -> Json:
    if intent["status"] == "succeeded":
        raise unexpected_state(
            "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed.",
            intent=intent,
        )
    if intent["status"] not in OPEN:
        raise unexpected_state(
            f"You cannot confirm this PaymentIntent because it has a status of {intent['status']}. Only a "
            "PaymentIntent with one of the following statuses may be confirmed: requires_confirmation, "
            "requires_action.",
            intent=intent,
        )
    if intent["payment_method"] is None:
        raise unexpected_state(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can either "
            "update the PaymentIntent with a payment method and then confirm it again, or confirm it again "
            "directly with a payment method or ConfirmationToken.",
            intent=intent,
        )
    _require_return_url(intent, options)
    method = change.get("payment_method", intent["payment_method"])
    if method["type"] not in intent["payment_method_types"]:
        raise invalid_request(
            f"The PaymentMethod provided ({method['type']}) is not allowed for this PaymentIntent. Please attach a "
            f"PaymentMethod of one of the following types: {', '.join(intent['payment_method_types'])}.",
            param="payment_method",
        )
    if intent["status"] == "requires_action":
        return _require_action(change, intent, options, base_url=base_url)
    _refuse_used_method(change.books, method["id"])
    card = cards.behind(method)
    if not (card.authenticate or options.authenticate):
        return _charge(change, intent, method, card.decline)
    if options.off_session or options.refuse_action:
        return _charge(change, intent, method, AUTHENTICATION_REQUIRED)
    return _require_action(change, intent, options, base_url=base_url)


def authenticate(change: Change, intent_id: str, *, approved: bool) -> Json:
    """Record what the card holder answered on the 3-D Secure page; returns the intent.

    An intent that no longer waits for an answer is returned unchanged.
    """
    intent = change.require("payment_intent", intent_id, param="intent", status=404)
    if intent["status"] != "requires_action":
        return intent
    method = change.get("payment_method", intent["payment_method"])
    if approved:
        decline = cards.behind(method).decline
        with suppress(ApiError):  # a decline is in the intent; nobody's call is being answered here
            _charge(change, intent, method, decline, authenticated=True)
        return intent
    error = {
        "code": "payment_intent_authentication_failure",
        "doc_url": "https://stripe.com/docs/error-codes/payment-intent-authentication-failure",
        "message": "The provided PaymentMethod has failed authentication. You can provide payment_method_data "
        "or a new PaymentMethod to attempt to fulfill this PaymentIntent again.",
        "payment_method": method,
        "type": "invalid_request_error",
    }
    _back_to_start(change, intent, error)
    return intent


def _refuse_used_method(books: Books, method_id: str) -> None:
    """A payment method without a customer serves once, a declined charge included."""
    if method_id in books.used_by:
        raise invalid_request(
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, "
            "shared with a connected account without Customer attachment, or was detached from a Customer. "
            "It may not be used again. To use a PaymentMethod multiple times, you must attach it to a "
            "Customer first."
        )


def _require_return_url(intent: Json, options: Confirmation) -> None:
    automatic = intent["automatic_payment_methods"] or {"allow_redirects": "never"}
    nobody_returns = options.off_session or options.handled_by_script
    if automatic["allow_redirects"] == "never" or options.return_url is not None or nobody_returns:
        return
    raise invalid_request(
        "This PaymentIntent is configured to accept payment methods enabled in your Dashboard. Because some of "
        "these payment methods might redirect your customer off of your page, you must provide a `return_url`. "
        "If you don't want to accept redirect-based payment methods, set `automatic_payment_methods[enabled]` "
        "to `true` and `automatic_payment_methods[allow_redirects]` to `never` when creating Setup Intents and "
        "Payment Intents.",
        param="return_url",
    )


def _require_action(change: Change, intent: Json, options: Confirmation, *, base_url: str) -> Json:
    page = f"{base_url}/3ds/{intent['id']}?client_secret={quote(intent['client_secret'])}"
    if options.return_url is not None:
        action = {
            "redirect_to_url": {"return_url": options.return_url, "url": page},
            "type": "redirect_to_url",
        }
    else:
        action = {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {"stripe_js": page, "type": "three_d_secure_redirect"},
        }
    again = intent["status"] == "requires_action"
    intent |= {"status": "requires_action", "next_action": action, "last_payment_error": None}
    change.put(intent)
    if not again:
        change.event("payment_intent.requires_action", intent)
    return intent


def _charge(
    change: Change, intent: Json, method: Json, decline: Decline | None, *, authenticated: bool = False
) -> Json:
    """Charge the method and return the intent. Raises ApiError (402) when the card is declined."""
    charge = charge_method(change, intent=intent, method=method, authenticated=authenticated)
    intent["latest_charge"] = charge["id"]
    if cards.behind(method).account:
        intent["status"] = "processing"
        change.put(intent)
        change.event("payment_intent.processing", intent)
        return intent
    return _conclude(change, intent, charge, method, decline)


def unsettled(intent: Json, books: Books) -> bool:
    """Say whether the intent's charge will still succeed or fail by itself."""
    method = books.tables["payment_method"].get(intent["payment_method"] or "")
    return intent["status"] == "processing" and method is not None and cards.behind(method).settles


def settle(change: Change, intent_id: str) -> None:
    """Let the charge of an intent that is `processing` succeed or fail."""
    intent = change.get("payment_intent", intent_id)
    if intent["status"] != "processing":
        return
    charge = change.get("charge", intent["latest_charge"])
    method = change.get("payment_method", intent["payment_method"])
    with suppress(ApiError):  # a failure is in the intent; nobody's call is being answered here
        _conclude(change, intent, charge, method, cards.behind(method).decline)


def _conclude(change: Change, intent: Json, charge: Json, method: Json, decline: Decline | None) -> Json:
    conclude(change, charge, decline)
    if decline is None:
        intent |= {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "last_payment_error": None,
            "next_action": None,
        }
        change.put(intent)
        change.event("payment_intent.succeeded", intent)
        return intent
    error = {
        "charge": charge["id"],
        "code": decline.code,
        "decline_code": decline.decline_code,
        "doc_url": f"https://stripe.com/docs/error-codes/{decline.code.replace('_', '-')}",
        "message": decline.message,
        "payment_method": method,
        "type": "card_error",
    }
    _back_to_start(change, intent, error)
    raise ApiError(402, {**error, "payment_intent": intent}, executed=True)


def _back_to_start(change: Change, intent: Json, error: Json) -> None:
    """Take the intent back to the start: another card may be tried on it."""
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "last_payment_error": error,
        "next_action": None,
    }
    change.put(intent)
    change.event("payment_intent.payment_failed", intent)
