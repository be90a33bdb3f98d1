"""Disputes: opened by the card's bank a while after the charge, closed by whoever plays that bank."""

from __future__ import annotations

from typing import Literal

from sandbox.bank import cards
from sandbox.bank.books import Change, new_id
from sandbox.bank.errors import invalid_request
from sandbox.bank.params import Params
from sandbox.jsons import Json

Result = Literal["won", "lost"]
RESPONSE_SECONDS = 7 * 86_400
"""How long a merchant may answer; real schemes give 7 to 21 days."""
EVIDENCE = (
    "access_activity_log", "billing_address", "cancellation_policy", "cancellation_policy_disclosure",
    "cancellation_rebuttal", "customer_communication", "customer_email_address", "customer_name",
    "customer_purchase_ip", "customer_signature", "duplicate_charge_documentation",
    "duplicate_charge_explanation", "duplicate_charge_id", "product_description", "receipt", "refund_policy",
    "refund_policy_disclosure", "refund_refusal_explanation", "service_date", "service_documentation",
    "shipping_address", "shipping_carrier", "shipping_date", "shipping_documentation",
    "shipping_tracking_number", "uncategorized_file", "uncategorized_text",
)  # fmt: skip


def retrieve(change: Change, params: Params, dispute_id: str) -> Json:
    params.finish()
    return change.require("dispute", dispute_id, param="id", status=404)


def due(charge: Json) -> bool:
    """Say whether this charge will be disputed but is not yet."""
    card = cards.behind(charge["payment_method_details"])
    return charge["paid"] and not charge["disputed"] and card.dispute is not None


def open_for(change: Change, charge_id: str) -> None:
    """Open the dispute that the charge's card brings with it."""
    charge = change.get("charge", charge_id)
    if not due(charge):
        return
    dispute = _dispute(change, charge)
    charge["disputed"] = True
    change.put(charge)
    change.put(dispute)
    change.event("charge.dispute.created", dispute)


def close(change: Change, dispute_id: str, *, result: Result) -> Json:
    """Close a dispute for or against the merchant; an inquiry becomes `warning_closed`."""
    dispute = change.require("dispute", dispute_id, param="id", status=404)
    if dispute["status"] in ("won", "lost", "warning_closed"):
        raise invalid_request(f"Dispute {dispute_id} is already closed.", executed=True)
    inquiry = dispute["status"].startswith("warning_")
    dispute["status"] = "warning_closed" if inquiry else result
    change.put(dispute)
    change.event("charge.dispute.closed", dispute)
    return dispute


def _dispute(change: Change, charge: Json) -> Json:
    card = cards.behind(charge["payment_method_details"])
    return {
        "id": new_id("dp"),
        "object": "dispute",
        "amount": charge["amount"] - charge["amount_refunded"],
        "balance_transactions": [],
        "charge": charge["id"],
        "created": change.now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": change.now + RESPONSE_SECONDS,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": card.inquiry,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": card.brand,
                "case_type": "inquiry" if card.inquiry else "chargeback",
                "network_reason_code": "10.4",
            },
            "type": "card",
        },
        "reason": card.dispute,
        "status": "warning_needs_response" if card.inquiry else "needs_response",
    }
