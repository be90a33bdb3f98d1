"""Which amounts Stripe accepts (docs.stripe.com/currencies). Amounts are in minor units."""

from __future__ import annotations

from sandbox.bank.errors import invalid_request

ZERO_DECIMAL = frozenset(
    {"bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof", "xpf"}
)
THREE_DECIMAL = frozenset({"bhd", "jod", "kwd", "omr", "tnd"})
DIVISIBLE_BY_100 = frozenset({"isk", "ugx"})  # sent with two decimals that must be zero
TWO_DECIMAL = frozenset({
    "usd", "aed", "afn", "all", "amd", "ang", "aoa", "ars", "aud", "awg", "azn", "bam", "bbd",
    "bdt", "bgn", "bmd", "bnd", "bob", "brl", "bsd", "bwp", "byn", "bzd", "cad", "cdf", "chf",
    "cny", "cop", "crc", "cve", "czk", "dkk", "dop", "dzd", "egp", "etb", "eur", "fjd", "fkp",
    "gbp", "gel", "gip", "gmd", "gtq", "gyd", "hkd", "hnl", "htg", "huf", "idr", "ils", "inr",
    "isk", "jmd", "kes", "kgs", "khr", "kyd", "kzt", "lak", "lbp", "lkr", "lrd", "lsl", "mad",
    "mdl", "mkd", "mmk", "mnt", "mop", "mur", "mvr", "mwk", "mxn", "myr", "mzn", "nad", "ngn",
    "nio", "nok", "npr", "nzd", "pab", "pen", "pgk", "php", "pkr", "pln", "qar", "ron", "rsd",
    "rub", "sar", "sbd", "scr", "sek", "sgd", "shp", "sle", "sos", "srd", "std", "szl", "thb",
    "tjs", "top", "try", "ttd", "twd", "tzs", "uah", "ugx", "uyu", "uzs", "wst", "xcd", "yer",
    "zar", "zmw",
})  # fmt: skip
CURRENCIES = TWO_DECIMAL | ZERO_DECIMAL | THREE_DECIMAL
MINIMUM = {
    "usd": 50, "aed": 200, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50, "czk": 1500, "dkk": 250,
    "eur": 50, "gbp": 30, "hkd": 400, "huf": 17500, "inr": 50, "jpy": 50, "mxn": 1000, "myr": 200, "nok": 300,
    "nzd": 50, "pln": 200, "ron": 200, "sek": 300, "sgd": 50, "thb": 1000,
}  # fmt: skip
MAXIMUM = 99_999_999
"""Stripe's eight digits, for most currencies."""


def check_currency(code: str) -> str:
    currency = code.lower()
    if currency not in CURRENCIES:
        raise invalid_request(
            f"Invalid currency: {code}. Stripe currently supports these currencies: {', '.join(sorted(CURRENCIES))}",
            param="currency",
        )
    return currency


def check_charge_amount(amount: int, *, currency: str) -> None:
    """Raise ApiError when Stripe would not charge `amount` (minor units) in `currency`."""
    minimum = MINIMUM.get(currency, 1)
    if amount < minimum:
        raise invalid_request(
            f"Amount must be at least {display(minimum, currency=currency)}",
            param="amount",
            code="amount_too_small",
        )
    if amount > MAXIMUM:
        raise invalid_request(
            f"Amount must be no more than {display(MAXIMUM, currency=currency)}",
            param="amount",
            code="amount_too_large",
        )
    step = 10 if currency in THREE_DECIMAL else 100 if currency in DIVISIBLE_BY_100 else 1
    if amount % step:
        raise invalid_request(
            f"Invalid amount: amounts in {currency} must be divisible by {step}",
            param="amount",
            code="parameter_invalid_integer",
        )


def display(amount: int, *, currency: str) -> str:
    """Format minor units for a message or a page, for example `12.50 EUR`."""
    digits = 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2
    return f"{amount / 10**digits:,.{digits}f} {currency.upper()}"
