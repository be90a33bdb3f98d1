"""A shopper's words for the bank's reasons to decline (docs.stripe.com/declines/codes).

A card that was reported lost or stolen is not called so: whoever holds it may not be its owner.
"""

_REASONS = {
    "insufficient_funds": "the account does not hold enough money",
    "withdrawal_count_limit_exceeded": "the card's limit is reached",
    "card_velocity_exceeded": "the card was used too often in a short time",
    "expired_card": "the card has expired",
    "invalid_expiry_month": "the expiry date is not right",
    "invalid_expiry_year": "the expiry date is not right",
    "incorrect_cvc": "the security code is not right",
    "invalid_cvc": "the security code is not right",
    "incorrect_number": "the card number is not right",
    "invalid_number": "the card number is not right",
    "incorrect_zip": "the postal code does not belong to the card",
    "processing_error": "the bank could not process the card just then; it may work in a few minutes",
    "try_again_later": "the bank could not process the card just then; it may work in a few minutes",
    "issuer_not_available": "the card's bank could not be reached; it may work in a few minutes",
    "currency_not_supported": "the card does not pay in this currency",
    "card_not_supported": "the card does not allow purchases of this kind",
    "authentication_required": "the payment was not confirmed with the card's bank",
    "payment_intent_authentication_failure": "the payment was not confirmed with the card's bank",
}


def reason(code: str) -> str | None:
    """None where the bank gave none that may be passed on."""
    return _REASONS.get(code)
