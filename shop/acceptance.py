"""Acceptance: may this order be charged? Rules look at the order and at how fast others like it came, and answer with
reasons' codes.

`review` waits, with nothing charged, for a person or for a slow check (the reason `screening`, shop/screening.py);
`reject` ends the order. The strictest answer counts.
"""

import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.conf import settings

from shop.models import Order
from shop.velocity import Pace

# The reason for asking a service outside; alone, its answer decides.
SCREENING = "screening"


class Verdict(enum.IntEnum):
    """Ordered by strictness."""

    ACCEPT = 0
    REVIEW = 1
    REJECT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    verdict: Verdict
    reason: str


Rule = Callable[[Order, Pace], Finding | None]

# Postal codes of the countries we know the form of; another country's is taken as it is.
_POSTAL_CODES = {
    "AT": r"\d{4}",
    "BE": r"\d{4}",
    "DE": r"\d{5}",
    "DK": r"\d{4}",
    "FR": r"\d{5}",
    "NL": r"\d{4} ?[A-Z]{2}",
    "SE": r"\d{3} ?\d{2}",
}


def address_is_deliverable(order: Order, _: Pace) -> Finding | None:
    """We ship there, and the postal code has the country's form. A wrong form is for a person, who may know
    better; a country we do not serve is not."""
    if order.country not in settings.SHIPPING_COUNTRIES:
        return Finding(verdict=Verdict.REJECT, reason="country_not_served")
    form = _POSTAL_CODES.get(order.country)
    if form and not re.fullmatch(form, order.postal_code.strip().upper()):
        return Finding(verdict=Verdict.REVIEW, reason="postal_code_unlikely")
    return None


def amount_is_usual(order: Order, _: Pace) -> Finding | None:
    """Fraud rule: large orders are looked at, absurd ones refused. Limits in minor units; 0 is off."""
    if 0 < settings.REJECT_ORDERS_ABOVE < order.total:
        return Finding(verdict=Verdict.REJECT, reason="amount_excessive")
    if 0 < settings.REVIEW_ORDERS_ABOVE < order.total:
        return Finding(verdict=Verdict.REVIEW, reason="amount_unusual")
    return None


def email_is_not_busy(_: Order, pace: Pace) -> Finding | None:
    """Fraud rule: whoever tries stolen cards orders again and again."""
    return Finding(verdict=Verdict.REVIEW, reason="orders_of_email") if pace.busy_email else None


def address_is_not_busy(_: Order, pace: Pace) -> Finding | None:
    """Fraud rule: under many names, but the parcels have to arrive somewhere."""
    return Finding(verdict=Verdict.REVIEW, reason="orders_to_address") if pace.busy_address else None


def needs_no_screening(order: Order, _: Pace) -> Finding | None:
    """Slow check: of larger orders, a service outside is asked. Limit in minor units; 0, or no address, is off."""
    if settings.SCREENING_URL and 0 < settings.SCREENING_ABOVE < order.total:
        return Finding(verdict=Verdict.REVIEW, reason=SCREENING)
    return None


RULES: Sequence[Rule] = (
    address_is_deliverable,
    amount_is_usual,
    email_is_not_busy,
    address_is_not_busy,
    needs_no_screening,
)


def examine(order: Order, pace: Pace) -> tuple[Verdict, tuple[str, ...]]:
    """The strictest verdict of all rules, and every reason."""
    findings = [finding for rule in RULES if (finding := rule(order, pace)) is not None]
    verdict = max((finding.verdict for finding in findings), default=Verdict.ACCEPT)
    return verdict, tuple(finding.reason for finding in findings)
