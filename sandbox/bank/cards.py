"""Stripe's test cards and accounts (docs.stripe.com/testing) and what each of them does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Decline:
    """How a charge fails: the error's code, the issuer's decline code, the words for the customer."""

    code: str
    decline_code: str
    message: str


def _declined(decline_code: str, message: str = "Your card was declined.") -> Decline:
    return Decline("card_declined", decline_code, message)


GENERIC = _declined("generic_decline")
INSUFFICIENT_FUNDS = _declined("insufficient_funds", "Your card has insufficient funds.")
LOST = _declined("lost_card")
STOLEN = _declined("stolen_card")
VELOCITY = _declined(
    "card_velocity_exceeded",
    "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
)
LIVE_CARD = _declined(
    "test_mode_live_card",
    "Your card was declined. Your request was in test mode, but used a non test (live) card. For a list of "
    "valid test cards, visit: https://stripe.com/docs/testing.",
)
AUTHENTICATION_REQUIRED = Decline(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
)
EXPIRED = Decline("expired_card", "expired_card", "Your card has expired.")
WRONG_CVC = Decline("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.")
PROCESSING_ERROR = Decline(
    "processing_error",
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
)


@dataclass(frozen=True, slots=True)
class TestCard:
    """A test card: its number, the name in `pm_card_<name>` and `tok_<name>`, and its behaviour."""

    number: str
    name: str
    label: str
    brand: str = "visa"
    funding: str = "credit"
    decline: Decline | None = None
    authenticate: bool = False
    dispute: str | None = None  # the dispute's reason
    inquiry: bool = False
    refund: Literal["succeeds", "fails", "pending"] = "succeeds"
    account: bool = False  # no card but a US bank account: its charges are `processing` before they settle
    settles: bool = True

    @property
    def kind(self) -> str:
        """The type of a payment method made from it."""
        return "us_bank_account" if self.account else "card"

    @property
    def static_id(self) -> str:
        return f"pm_usBankAccount_{self.name}" if self.account else f"pm_card_{self.name}"

    @property
    def fingerprint(self) -> str:
        """As Stripe's, it is the same for every payment method made from this number."""
        return hashlib.sha256(f"sandbox card {self.number}".encode()).hexdigest()[:16]


CARDS = (
    TestCard("4242424242424242", "visa", "succeeds"),
    TestCard("4000056655665556", "visa_debit", "succeeds (debit)", funding="debit"),
    TestCard("5555555555554444", "mastercard", "succeeds (Mastercard)", brand="mastercard"),
    TestCard("378282246310005", "amex", "succeeds (American Express)", brand="amex"),
    TestCard("4000000000000002", "visa_chargeDeclined", "is declined", decline=GENERIC),
    TestCard("4000000000009995", "visa_chargeDeclinedInsufficientFunds", "lacks funds", decline=INSUFFICIENT_FUNDS),
    TestCard("4000000000009987", "visa_chargeDeclinedLostCard", "was lost", decline=LOST),
    TestCard("4000000000009979", "visa_chargeDeclinedStolenCard", "was stolen", decline=STOLEN),
    TestCard("4000000000006975", "visa_chargeDeclinedVelocityLimitExceeded", "was used too often", decline=VELOCITY),
    TestCard("4000000000000069", "chargeDeclinedExpiredCard", "has expired", decline=EXPIRED),
    TestCard("4000000000000127", "chargeDeclinedIncorrectCvc", "has a wrong code", decline=WRONG_CVC),
    TestCard("4000000000000119", "chargeDeclinedProcessingError", "hits an error", decline=PROCESSING_ERROR),
    TestCard("4000000000000341", "chargeCustomerFail", "attaches, then is declined", decline=GENERIC),
    TestCard("4000002760003184", "authenticationRequired", "needs 3-D Secure", authenticate=True),
    TestCard("4000002500003155", "authenticationRequiredOnSetup", "needs 3-D Secure", authenticate=True),
    TestCard("4000000000003220", "threeDSecure2Required", "needs 3-D Secure 2", authenticate=True),
    TestCard("4000000000003063", "threeDSecureRequired", "needs 3-D Secure", authenticate=True),
    TestCard(
        "4000008260003178",
        "authenticationRequiredChargeDeclinedInsufficientFunds",
        "needs 3-D Secure, then lacks funds",
        authenticate=True,
        decline=INSUFFICIENT_FUNDS,
    ),
    TestCard(
        "4000008400001629",
        "threeDSecureRequiredChargeDeclined",
        "needs 3-D Secure, then is declined",
        authenticate=True,
        decline=GENERIC,
    ),
    TestCard("4000000000000259", "createDispute", "is disputed", dispute="fraudulent"),
    TestCard(
        "4000000000002685",
        "createDisputeProductNotReceived",
        "is disputed as not received",
        dispute="product_not_received",
    ),
    TestCard("4000000000001976", "createDisputeInquiry", "is asked about", dispute="fraudulent", inquiry=True),
    TestCard("4000000000007726", "pendingRefund", "is refunded slowly", refund="pending"),
    TestCard("4000000000005126", "refundFail", "fails to be refunded", refund="fails"),
)
ACCOUNTS = (
    TestCard("000123456789", "success", "is a bank account", account=True),
    TestCard("000222222227", "insufficientFunds", "is an empty account", account=True, decline=INSUFFICIENT_FUNDS),
    TestCard("000000004954", "processing", "is an account that never settles", account=True, settles=False),
)
BY_NUMBER = {card.number: card for card in CARDS}
BY_FINGERPRINT = {card.fingerprint: card for card in (*CARDS, *ACCOUNTS)}
BY_STATIC_ID = {card.static_id: card for card in (*CARDS, *ACCOUNTS)}
BY_TOKEN = {f"tok_{card.name}": card for card in CARDS}


def passes_luhn(number: str) -> bool:
    digits = [int(digit) for digit in reversed(number)]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def behind(details: dict[str, Any]) -> TestCard:
    """Return the test card of a payment method, or of a charge's `payment_method_details`."""
    return BY_FINGERPRINT[details[details["type"]]["fingerprint"]]
