"""Stripe's objects, as plain JSON, in our own words. Each function raises KeyError, TypeError or AttributeError for
anything that is not what it should be."""

import datetime as dt
import uuid
from typing import Any

from payments.gateways.base import BankDispute, BankRefund, Intent


def intent(found: dict[str, Any]) -> Intent:
    charge = found.get("latest_charge") or ""
    problem = found.get("last_payment_error") or {}
    action = found.get("next_action") or {}
    metadata = found.get("metadata") or {}
    order = str(metadata.get("order_id") or "")
    return Intent(
        id=found["id"],
        status=found["status"],
        amount=found["amount"],
        currency=str(found["currency"]).upper(),
        latest_charge=charge if isinstance(charge, str) else charge["id"],
        action_url=(action.get("redirect_to_url") or {}).get("url") or "",
        error_code=problem.get("decline_code") or problem.get("code") or "",
        error_payment_method=(problem.get("payment_method") or {}).get("id") or "",
        payment_ref=our_id(metadata.get("payment")),
        order_ref=int(order) if order.isascii() and order.isdecimal() and len(order) < 19 else None,
        reference=str(metadata.get("reference") or "")[:40],
        created=_time(found.get("created")),
    )


def refund(found: dict[str, Any]) -> BankRefund:
    return BankRefund(
        id=found["id"],
        status=found["status"],
        amount=found["amount"],
        failure_code=found.get("failure_reason") or "",
        currency=str(found.get("currency") or "").upper(),
        intent_id=found.get("payment_intent") or "",
        refund_ref=our_id((found.get("metadata") or {}).get("refund")),
        created=_time(found.get("created")),
    )


def dispute(found: dict[str, Any]) -> BankDispute:
    return BankDispute(
        id=found["id"],
        status=found["status"],
        amount=found["amount"],
        currency=str(found["currency"]).upper(),
        reason=found["reason"],
        refundable=bool(found["is_charge_refundable"]),
        opened_at=dt.datetime.fromtimestamp(found["created"], tz=dt.UTC),
    )


def our_id(text: object) -> uuid.UUID | None:
    """None for what somebody else wrote there."""
    try:
        return uuid.UUID(str(text))
    except ValueError:
        return None


def _time(seconds: int | None) -> dt.datetime | None:
    return None if seconds is None else dt.datetime.fromtimestamp(seconds, tz=dt.UTC)
