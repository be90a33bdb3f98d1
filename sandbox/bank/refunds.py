"""Refunds, and what becomes of them later."""

from __future__ import annotations

from sandbox.bank import cards
from sandbox.bank.books import Books, Change, new_id
from sandbox.bank.currencies import display
from sandbox.bank.errors import invalid_request
from sandbox.bank.params import Params, merged_metadata
from sandbox.jsons import Json

REASONS = ("duplicate", "fraudulent", "requested_by_customer")


def create(change: Change, params: Params) -> Json:
    charge = _charge_to_refund(change, params.text("payment_intent"), params.text("charge"))
    amount = params.integer("amount", minimum=1)
    reason = params.choice("reason", REASONS)
    metadata = merged_metadata({}, params.metadata())
    params.text("instructions_email")
    params.finish()
    if charge["disputed"] and not _refundable_in_dispute(change, charge):
        raise invalid_request(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.",
            code="charge_disputed",
            executed=True,
        )
    left = charge["amount"] - charge["amount_refunded"]
    if left == 0:
        raise invalid_request(
            f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded", executed=True
        )
    amount = left if amount is None else amount
    if amount > left:
        currency = charge["currency"]
        raise invalid_request(
            f"Refund amount ({display(amount, currency=currency)}) is greater than unrefunded amount on charge "
            f"({display(left, currency=currency)})",
            param="amount",
            executed=True,
        )
    refund = _refund(change, charge, amount=amount, reason=reason, metadata=metadata)
    _take_back(change, charge, amount)
    change.put(refund)
    change.event("refund.created", refund)
    change.event("charge.refunded", charge)
    return refund


def retrieve(change: Change, params: Params, refund_id: str) -> Json:
    params.finish()
    return change.require("refund", refund_id, param="id", status=404)


def update(change: Change, params: Params, refund_id: str) -> Json:
    refund = change.require("refund", refund_id, param="id", status=404)
    refund["metadata"] = merged_metadata(refund["metadata"], params.metadata())
    params.finish()
    change.put(refund)
    change.event("refund.updated", refund)
    return refund


def unsettled(refund: Json, books: Books) -> bool:
    """Say whether the card's bank has not had its last word yet."""
    charge = books.tables["charge"].get(refund["charge"])
    if charge is None or refund["status"] not in ("pending", "succeeded"):
        return False
    behaviour = cards.behind(charge["payment_method_details"]).refund
    return refund["status"] == "pending" or (refund["status"] == "succeeded" and behaviour == "fails")


def settle(change: Change, refund_id: str) -> None:
    """Let a pending refund succeed, or a doomed one fail."""
    refund = change.get("refund", refund_id)
    charge = change.get("charge", refund["charge"])
    if not unsettled(refund, change.books):
        return
    if refund["status"] == "pending":
        refund["status"] = "succeeded"
        change.put(refund)
        change.event("refund.updated", refund)
        return
    refund |= {
        "status": "failed",
        "failure_reason": "expired_or_canceled_card",
        "failure_balance_transaction": new_id("txn"),
    }
    change.put(refund)
    _take_back(change, charge, -refund["amount"])
    change.event("refund.updated", refund)
    change.event("refund.failed", refund)


def _charge_to_refund(change: Change, intent_id: str | None, charge_id: str | None) -> Json:
    if charge_id is not None:
        charge = change.require("charge", charge_id, param="charge")
        if intent_id is not None and charge["payment_intent"] != intent_id:
            raise invalid_request(f"Charge {charge_id} does not belong to PaymentIntent {intent_id}.", param="charge")
    elif intent_id is not None:
        intent = change.require("payment_intent", intent_id, param="payment_intent")
        charge = change.get("charge", intent["latest_charge"]) if intent["latest_charge"] else {"paid": False}
    else:
        raise invalid_request(
            "One of the following params should be provided for this request: payment_intent or charge.",
            code="parameter_missing",
        )
    if not charge["paid"]:
        raise invalid_request(
            f"This PaymentIntent ({intent_id or charge['payment_intent']}) does not have a successful charge "
            "to refund.",
            param="charge" if charge_id else "payment_intent",
            executed=True,
        )
    return charge


def _refundable_in_dispute(change: Change, charge: Json) -> bool:
    disputes = change.books.tables["dispute"].where("charge", charge["id"])
    return all(dispute["is_charge_refundable"] for dispute in disputes)


def _take_back(change: Change, charge: Json, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    change.put(charge)


def _refund(change: Change, charge: Json, *, amount: int, reason: str | None, metadata: dict[str, str]) -> Json:
    pending = cards.behind(charge["payment_method_details"]).refund == "pending"
    return {
        "id": new_id("re"),
        "object": "refund",
        "amount": amount,
        "balance_transaction": new_id("txn"),
        "charge": charge["id"],
        "created": change.now,
        "currency": charge["currency"],
        "customer": None,
        "customer_account": None,
        "destination_details": {
            "card": {
                "reference": None,
                "reference_status": "pending",
                "reference_type": "acquirer_reference_number",
                "type": "refund",
            },
            "type": "card",
        },
        "metadata": metadata,
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "reason": reason,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": "pending" if pending else "succeeded",
        "transfer_reversal": None,
    }
