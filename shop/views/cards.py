"""The card field: the provider's script makes an id of the card in the browser; no number reaches the store."""

import re
from dataclasses import dataclass

from django.conf import settings

from shop.forms import PAYMENT_METHOD

# Stripe's test cards (docs.stripe.com/testing), offered where scripts are off. Test keys only.
TEST_CARDS = (
    ("pm_card_visa", "Visa that pays", "4242 4242 4242 4242"),
    ("pm_card_mastercard", "Mastercard that pays", "5555 5555 5555 4444"),
    ("pm_card_visa_chargeDeclined", "Declined", "4000 0000 0000 0002"),
    ("pm_card_visa_chargeDeclinedInsufficientFunds", "Declined: no funds", "4000 0000 0000 9995"),
    ("pm_card_chargeDeclinedExpiredCard", "Declined: expired", "4000 0000 0000 0069"),
    ("pm_card_authenticationRequired", "Asks for 3-D Secure", "4000 0027 6000 3184"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardField:
    """`kept` is the id of a card that was entered before the form came back with an error."""

    publishable_key: str
    script: str
    test_cards: tuple[tuple[str, str, str], ...]
    kept: str


def card_field(payment_method: str | None = None) -> CardField:
    is_test = settings.STRIPE_PUBLISHABLE_KEY.startswith("pk_test_")
    kept = payment_method if payment_method and re.match(PAYMENT_METHOD, payment_method) else ""
    return CardField(
        publishable_key=settings.STRIPE_PUBLISHABLE_KEY,
        script=settings.STRIPE_JS_URL,
        test_cards=TEST_CARDS if is_test else (),
        kept=kept,
    )
