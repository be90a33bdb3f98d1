"""Amounts at the bank's border: integer minor units of a currency, as Stripe counts them.

Stripe's own tables (docs.stripe.com/currencies), not ISO 4217's, decide: ISK and UGX are sent as if they had
two decimals but must be whole; three-decimal amounts must end in 0.
"""

from decimal import Decimal

ZERO_DECIMAL = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "VND", "VUV", "XAF", "XOF", "XPF"}
)
THREE_DECIMAL = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
# Sent ×100 although nobody uses their cents.
WHOLE_UNITS_ONLY = frozenset({"ISK", "UGX"})

# The smallest charge, in minor units (docs.stripe.com/currencies#minimum-and-maximum-charge-amounts).
MINIMUM = {
    "USD": 50,
    "AED": 200,
    "AUD": 50,
    "BGN": 100,
    "BRL": 50,
    "CAD": 50,
    "CHF": 50,
    "CZK": 1500,
    "DKK": 250,
    "EUR": 50,
    "GBP": 30,
    "HKD": 400,
    "HUF": 17500,
    "INR": 50,
    "JPY": 50,
    "MXN": 1000,
    "MYR": 200,
    "NOK": 300,
    "NZD": 50,
    "PLN": 200,
    "RON": 200,
    "SEK": 300,
    "SGD": 50,
    "THB": 1000,
}
# Stripe takes at most eight digits.
MAXIMUM = 99_999_999

_SYMBOLS = {"EUR": "€", "GBP": "£", "USD": "$", "JPY": "¥"}


class AmountNotChargeable(ValueError):
    """The bank would refuse the amount; the message is meant for the shopper."""


def decimals(currency: str) -> int:
    """Digits after the point in what is sent to the bank: 0, 2 or 3."""
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2


def check_chargeable(*, amount: int, currency: str) -> None:
    """Raise AmountNotChargeable unless the bank takes this amount (minor units) in this currency."""
    minimum = MINIMUM.get(currency, 1)
    if amount < minimum:
        raise AmountNotChargeable(
            f"Orders start at {display(amount=minimum, currency=currency)}: the bank charges no less."
        )
    if amount > MAXIMUM:
        raise AmountNotChargeable(f"One order can be at most {display(amount=MAXIMUM, currency=currency)}.")
    step = 100 if currency in WHOLE_UNITS_ONLY else 10 if currency in THREE_DECIMAL else 1
    if amount % step:
        raise AmountNotChargeable(f"{currency} amounts must be a multiple of {step} minor units, not {amount}.")


def display(*, amount: int, currency: str) -> str:
    """For people: `€12.50`, `¥500`, `KWD 1.250`."""
    shown = 0 if currency in WHOLE_UNITS_ONLY else decimals(currency)
    value = Decimal(amount).scaleb(-decimals(currency))
    symbol = _SYMBOLS.get(currency, f"{currency} ")
    return f"{'-' if value < 0 else ''}{symbol}{abs(value):,.{shown}f}"
