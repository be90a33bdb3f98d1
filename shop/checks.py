"""System checks: with DEBUG off, a missing or insecure setting stops every command and the web server.

Each message names the variable and says what to set it to.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import environ
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error, Warning

from outbox.management.commanding import SETTINGS
from payments.gateways import is_live

# Django's own measure of a secret key (django.core.checks.security).
SECRET_KEY_LENGTH, SECRET_KEY_UNIQUE = 50, 5
# Calls that one claim of a payment may make: retrieve, create, confirm, retrieve again.
CALLS_PER_CLAIM = 4
# Seconds to write a claim's result: the database may be restarting just then.
LEASE_MARGIN = 10

NEEDED = {
    "STRIPE_SECRET_KEY": "the secret key of your Stripe account (sk_…)",
    "STRIPE_PUBLISHABLE_KEY": "the publishable key of your Stripe account (pk_…)",
    "STRIPE_WEBHOOK_SECRET": "the signing secret of the webhook endpoint at Stripe (whsec_…)",
    "SENDGRID_API_KEY": "an API key of SendGrid that may send mail (SG.…)",
    "SENDGRID_WEBHOOK_PUBLIC_KEY": "the public key of SendGrid's signed event webhook",
}

# What Stripe charges in (docs.stripe.com/currencies#presentment-currencies).
CURRENCIES = frozenset(
    [
        "AED",
        "AFN",
        "ALL",
        "AMD",
        "ANG",
        "AOA",
        "ARS",
        "AUD",
        "AWG",
        "AZN",
        "BAM",
        "BBD",
        "BDT",
        "BGN",
        "BHD",
        "BIF",
        "BMD",
        "BND",
        "BOB",
        "BRL",
        "BSD",
        "BWP",
        "BYN",
        "BZD",
        "CAD",
        "CDF",
        "CHF",
        "CLP",
        "CNY",
        "COP",
        "CRC",
        "CVE",
        "CZK",
        "DJF",
        "DKK",
        "DOP",
        "DZD",
        "EGP",
        "ETB",
        "EUR",
        "FJD",
        "FKP",
        "GBP",
        "GEL",
        "GIP",
        "GMD",
        "GNF",
        "GTQ",
        "GYD",
        "HKD",
        "HNL",
        "HTG",
        "HUF",
        "IDR",
        "ILS",
        "INR",
        "ISK",
        "JMD",
        "JOD",
        "JPY",
        "KES",
        "KGS",
        "KHR",
        "KMF",
        "KRW",
        "KWD",
        "KYD",
        "KZT",
        "LAK",
        "LBP",
        "LKR",
        "LRD",
        "LSL",
        "MAD",
        "MDL",
        "MGA",
        "MKD",
        "MMK",
        "MNT",
        "MOP",
        "MUR",
        "MVR",
        "MWK",
        "MXN",
        "MYR",
        "MZN",
        "NAD",
        "NGN",
        "NIO",
        "NOK",
        "NPR",
        "NZD",
        "OMR",
        "PAB",
        "PEN",
        "PGK",
        "PHP",
        "PKR",
        "PLN",
        "PYG",
        "QAR",
        "RON",
        "RSD",
        "RUB",
        "RWF",
        "SAR",
        "SBD",
        "SCR",
        "SEK",
        "SGD",
        "SHP",
        "SLE",
        "SOS",
        "SRD",
        "STD",
        "SZL",
        "THB",
        "TJS",
        "TND",
        "TOP",
        "TRY",
        "TTD",
        "TWD",
        "TZS",
        "UAH",
        "UGX",
        "USD",
        "UYU",
        "UZS",
        "VND",
        "VUV",
        "WST",
        "XAF",
        "XCD",
        "XOF",
        "XPF",
        "YER",
        "ZAR",
        "ZMW",
    ]
)


def register() -> None:
    """Called once, when the app is ready."""
    checks.register(check_settings, SETTINGS)


def check_settings(app_configs: Any = None, **_: Any) -> list[CheckMessage]:
    """Every finding at once. Nothing is demanded while DEBUG is on, but then no real money either."""
    if settings.DEBUG:
        return list(_debug())
    return [*_django(), *_needed(), *_bank(), *_address(), *_screening(), *_time()]


def _debug() -> Iterator[CheckMessage]:
    if is_live():
        yield Error(
            "STRIPE_SECRET_KEY is a live key, but DJANGO_DEBUG is on: its error pages show settings and data.",
            hint="Set DJANGO_DEBUG=0, or use a test key.",
            id="shop.E014",
        )


def _django() -> Iterator[CheckMessage]:
    key = settings.SECRET_KEY
    if key.startswith(("insecure", "django-insecure")):
        yield Error(
            "DJANGO_SECRET_KEY is not set, or is one that Django calls insecure.",
            hint=f"Set DJANGO_SECRET_KEY to at least {SECRET_KEY_LENGTH} random characters.",
            id="shop.E001",
        )
    elif len(key) < SECRET_KEY_LENGTH or len(set(key)) < SECRET_KEY_UNIQUE:
        yield Error(
            "DJANGO_SECRET_KEY is too short or repeats itself: sessions and forms could be forged.",
            hint=f"Set DJANGO_SECRET_KEY to at least {SECRET_KEY_LENGTH} random characters.",
            id="shop.E002",
        )
    if not settings.ALLOWED_HOSTS or "*" in settings.ALLOWED_HOSTS:
        yield Error(
            "DJANGO_ALLOWED_HOSTS is empty or allows every host.",
            hint="Set DJANGO_ALLOWED_HOSTS to the store's host names, separated by commas.",
            id="shop.E003",
        )
    if "DATABASE_URL" not in environ.Env.ENVIRON:  # also from `.env`, or from a demo that runs beside us
        yield Error(
            "DATABASE_URL is not set.",
            hint="Set DATABASE_URL to postgresql://user:password@host:port/name.",
            id="shop.E004",
        )
    if settings.DATABASES["default"]["OPTIONS"].get("pool"):
        yield Error(
            "DATABASE_URL asks for a connection pool: the processes of qcluster would share its connections.",
            hint="Remove `pool` from DATABASE_URL; connections are kept open without it.",
            id="shop.E005",
        )


def _needed() -> Iterator[CheckMessage]:
    for name, meaning in NEEDED.items():
        if not getattr(settings, name):
            yield Error(f"{name} is not set.", hint=f"Set {name} to {meaning}.", id="shop.E010")


def _bank() -> Iterator[CheckMessage]:
    secret, publishable = settings.STRIPE_SECRET_KEY, settings.STRIPE_PUBLISHABLE_KEY
    live = is_live()
    at_stripe = {
        "STRIPE_API_BASE": settings.STRIPE_API_BASE == "https://api.stripe.com",
        "STRIPE_JS_URL": settings.STRIPE_JS_URL.startswith("https://js.stripe.com/"),
    }
    if secret and publishable and live != publishable.startswith("pk_live_"):
        yield Error(
            "STRIPE_SECRET_KEY and STRIPE_PUBLISHABLE_KEY are not of the same mode: one is live, one is not.",
            hint="Set both to the keys of one mode of one Stripe account.",
            id="shop.E011",
        )
    if live and not settings.STORE_HTTPS:
        yield Error(
            "STRIPE_SECRET_KEY is a live key, but STORE_HTTPS is off.",
            hint="Set STORE_HTTPS=1 and serve the store over HTTPS, or use a test key.",
            id="shop.E012",
        )
    if live:
        for name, is_stripe in at_stripe.items():
            if not is_stripe:
                yield Error(
                    f"STRIPE_SECRET_KEY is a live key, but {name} is not at Stripe.",
                    hint=f"Remove {name}: its default is Stripe's own address.",
                    id="shop.E013",
                )
    if secret and not live and at_stripe["STRIPE_API_BASE"]:
        yield Warning(
            "STRIPE_SECRET_KEY is a test key: orders are taken, but nobody is charged.",
            hint="Set STRIPE_SECRET_KEY and STRIPE_PUBLISHABLE_KEY to live keys when the store opens.",
            id="shop.W011",
        )


def _address() -> Iterator[CheckMessage]:
    address = urlsplit(settings.STORE_ADDRESS)
    if address.scheme not in ("http", "https") or not address.hostname:
        yield Error(
            f"STORE_ADDRESS is no web address: {settings.STORE_ADDRESS!r}.",
            hint="Set STORE_ADDRESS to the store's public address, such as https://store.example.",
            id="shop.E020",
        )
    elif settings.STORE_HTTPS and address.scheme != "https":
        yield Error(
            "STORE_ADDRESS does not begin with https://, but STORE_HTTPS is on.",
            hint="Set STORE_ADDRESS to the store's public https:// address.",
            id="shop.E021",
        )
    if settings.STORE_CURRENCY not in CURRENCIES:
        yield Error(
            f"STORE_CURRENCY is no currency that Stripe charges in: {settings.STORE_CURRENCY!r}.",
            hint="Set STORE_CURRENCY to a three-letter code such as EUR.",
            id="shop.E022",
        )


def _screening() -> Iterator[CheckMessage]:
    if settings.SCREENING_URL and not settings.SCREENING_API_KEY:
        yield Error(
            "SCREENING_URL is set, but SCREENING_API_KEY is not.",
            hint="Set SCREENING_API_KEY to your key of the screening service, or remove SCREENING_URL.",
            id="shop.E040",
        )
    if settings.SCREENING_URL and settings.STORE_HTTPS and not settings.SCREENING_URL.startswith("https://"):
        yield Error(
            "SCREENING_URL does not begin with https://: where customers live would travel in the clear.",
            hint="Set SCREENING_URL to the service's https:// address.",
            id="shop.E041",
        )


def _time() -> Iterator[CheckMessage]:
    needed = CALLS_PER_CLAIM * settings.PAYMENT_CALL_DEADLINE + LEASE_MARGIN
    if needed >= settings.PAYMENT_LEASE_SECONDS:
        yield Error(
            f"PAYMENT_LEASE_SECONDS is {settings.PAYMENT_LEASE_SECONDS}: a claim could end during its calls, "
            "and another worker would take the payment over.",
            hint=f"Set PAYMENT_LEASE_SECONDS above {needed:g} ({CALLS_PER_CLAIM} × PAYMENT_CALL_DEADLINE "
            f"+ {LEASE_MARGIN}), or lower PAYMENT_CALL_DEADLINE.",
            id="shop.E030",
        )
    if settings.MAIL_TIMEOUT >= settings.MAIL_LEASE_SECONDS:
        yield Error(
            f"MAIL_LEASE_SECONDS is {settings.MAIL_LEASE_SECONDS}: a claim could end during its call.",
            hint=f"Set MAIL_LEASE_SECONDS above MAIL_TIMEOUT ({settings.MAIL_TIMEOUT:g}).",
            id="shop.E031",
        )
