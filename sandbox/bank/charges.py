"""Charges: one for each try of a card."""

from __future__ import annotations

from sandbox.bank.books import Change, new_id
from sandbox.bank.cards import Decline
from sandbox.bank.params import Params
from sandbox.jsons import Json


def retrieve(change: Change, params: Params, charge_id: str) -> Json:
    params.finish()
    return change.require("charge", charge_id, param="id", status=404)


def charge_method(change: Change, *, intent: Json, method: Json, authenticated: bool) -> Json:
    """Begin to charge the intent's amount: a pending charge, whose outcome `conclude` records."""
    charge = _charge(change, intent=intent, method=method, authenticated=authenticated)
    change.put(charge)
    return charge


def conclude(change: Change, charge: Json, decline: Decline | None) -> None:
    """Record how a pending charge ended."""
    charge["outcome"] = _outcome(decline)
    if decline is None:
        charge |= {
            "amount_captured": charge["amount"],
            "balance_transaction": new_id("txn"),
            "captured": True,
            "paid": True,
            "status": "succeeded",
        }
    else:
        charge |= {"failure_code": decline.code, "failure_message": decline.message, "status": "failed"}
    change.put(charge)


def _outcome(decline: Decline | None) -> Json:
    if decline is None:
        return {
            "advice_code": None,
            "network_advice_code": None,
            "network_decline_code": None,
            "network_status": "approved_by_network",
            "reason": None,
            "risk_level": "normal",
            "risk_score": 1,
            "seller_message": "Payment complete.",
            "type": "authorized",
        }
    return {
        "advice_code": "try_again_later",
        "network_advice_code": None,
        "network_decline_code": "05",
        "network_status": "declined_by_network",
        "reason": decline.decline_code,
        "risk_level": "normal",
        "risk_score": 1,
        "seller_message": "The bank did not return any further details with this decline.",
        "type": "issuer_declined",
    }


def _method_details(method: Json, *, amount: int, authenticated: bool) -> Json:
    kind = method["type"]
    if kind != "card":
        return {kind: method[kind], "type": kind}
    card = method["card"]
    shown = ("brand", "country", "exp_month", "exp_year", "fingerprint", "funding", "last4", "checks")
    details = {
        **{name: card[name] for name in shown},
        "amount_authorized": amount,
        "authorization_code": None,
        "extended_authorization": {"status": "disabled"},
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "mandate": None,
        "multicapture": {"status": "unavailable"},
        "network": card["brand"],
        "network_token": {"used": False},
        "network_transaction_id": None,
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        "regulated_status": "unregulated",
        "three_d_secure": {"result": "authenticated", "version": "2.2.0"} if authenticated else None,
        "transaction_link_id": None,
        "wallet": None,
    }
    return {"card": details, "type": "card"}


def _charge(change: Change, *, intent: Json, method: Json, authenticated: bool) -> Json:
    return {
        "id": new_id("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": method["billing_details"],
        "calculated_statement_descriptor": "SANDBOX",
        "captured": False,
        "created": change.now,
        "currency": intent["currency"],
        "customer": None,
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": False,
        "metadata": intent["metadata"],
        "on_behalf_of": None,
        "outcome": None,
        "paid": False,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": _method_details(method, amount=intent["amount"], authenticated=authenticated),
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": None,
        "refunded": False,
        "review": None,
        "shipping": intent["shipping"],
        "source_transfer": None,
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
        "status": "pending",
        "transfer_data": None,
        "transfer_group": None,
    }
