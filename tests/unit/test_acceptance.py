"""The acceptance rules: what each says about an order and about how fast others like it came; and what becomes of a
screening after a call."""

import datetime as dt
from typing import Any

import pytest

from shop.acceptance import Verdict, examine
from shop.models import Order, Screening
from shop.screening import Answer, Outcome, after_call
from shop.screening_service import question
from shop.velocity import Pace

CALM = Pace()
MINUTE = dt.timedelta(minutes=1)


@pytest.fixture(autouse=True)
def rules(settings: Any) -> Any:
    settings.SHIPPING_COUNTRIES = ["DE", "IE", "NL"]
    settings.REVIEW_ORDERS_ABOVE = 200_000
    settings.REJECT_ORDERS_ABOVE = 2_000_000
    settings.SCREENING_URL = "https://screening.example"
    settings.SCREENING_ABOVE = 0
    settings.SCREENING_PATIENCE_MINUTES = 60
    return settings


def order(*, total: int = 5000, country: str = "DE", postal_code: str = "20457") -> Order:
    return Order(total=total, currency="EUR", country=country, postal_code=postal_code, email=" Ada@Example.org")


@pytest.mark.parametrize(
    ("details", "verdict", "reasons"),
    [
        ({}, Verdict.ACCEPT, []),
        ({"country": "US"}, Verdict.REJECT, ["country_not_served"]),
        ({"postal_code": "2045"}, Verdict.REVIEW, ["postal_code_unlikely"]),
        ({"country": "NL", "postal_code": " 1012 ab"}, Verdict.ACCEPT, []),
        ({"country": "IE", "postal_code": "anything"}, Verdict.ACCEPT, []),
        ({"total": 200_000}, Verdict.ACCEPT, []),
        ({"total": 200_001}, Verdict.REVIEW, ["amount_unusual"]),
        ({"total": 2_000_001}, Verdict.REJECT, ["amount_excessive"]),
        # The strictest counts, and every reason is told.
        ({"total": 200_001, "country": "US"}, Verdict.REJECT, ["country_not_served", "amount_unusual"]),
        ({"total": 200_001, "postal_code": "x"}, Verdict.REVIEW, ["postal_code_unlikely", "amount_unusual"]),
    ],
)
def test_address_and_amount(details: dict[str, Any], verdict: Verdict, reasons: list[str]) -> None:
    assert examine(order(**details), CALM) == (verdict, tuple(reasons))


def test_who_orders_too_often_waits() -> None:
    assert examine(order(), Pace(busy_email=True)) == (Verdict.REVIEW, ("orders_of_email",))
    assert examine(order(), Pace(busy_address=True)) == (Verdict.REVIEW, ("orders_to_address",))
    assert examine(order(country="US"), Pace(busy_email=True))[0] is Verdict.REJECT


def test_larger_orders_are_screened(rules: Any) -> None:
    rules.SCREENING_ABOVE = 5000
    assert examine(order(total=5000), CALM) == (Verdict.ACCEPT, ())
    assert examine(order(total=5001), CALM) == (Verdict.REVIEW, ("screening",))
    rules.SCREENING_URL = ""
    assert examine(order(total=5001), CALM) == (Verdict.ACCEPT, ())


@pytest.mark.parametrize("limit", ["REVIEW_ORDERS_ABOVE", "REJECT_ORDERS_ABOVE", "SCREENING_ABOVE"])
def test_0_switches_a_rule_off(rules: Any, limit: str) -> None:
    for each in ("REVIEW_ORDERS_ABOVE", "REJECT_ORDERS_ABOVE", "SCREENING_ABOVE"):
        setattr(rules, each, 1 if each == limit else 0)
    assert len(examine(order(), CALM)[1]) == 1
    setattr(rules, limit, 0)
    assert examine(order(), CALM) == (Verdict.ACCEPT, ())


def test_a_question_names_nobody() -> None:
    screening = Screening()
    asked = question(order(), reference=screening.public_id)
    assert asked == {
        "reference": str(screening.public_id),
        "country": "DE",
        "postal_code": "20457",
        "amount": 5000,
        "currency": "EUR",
        # printf 'ada@example.org' | sha256sum
        "email_sha256": "cfe00dde46ef942601ffafb9e2825e802858b460e586b8305b344c1eb826357d",
    }


@pytest.mark.parametrize("result", ["passed", "failed"])
def test_an_answer_settles_it_however_late(result: Any) -> None:
    verdict = after_call(Answer(outcome=Outcome.ANSWERED, result=result), attempts=9, age=600 * MINUTE)
    assert (verdict.status, verdict.due_in) == (result, None)


@pytest.mark.parametrize("outcome", [Outcome.NOT_SENT, Outcome.UNKNOWN])
def test_without_an_answer_it_is_asked_again_until_patience_ends(outcome: Outcome) -> None:
    for attempts in range(1, 40):
        verdict = after_call(Answer(outcome=outcome), attempts=attempts, age=58 * MINUTE)
        assert verdict.status == "pending"
        assert verdict.due_in is not None
        assert dt.timedelta(0) < verdict.due_in <= MINUTE
    assert after_call(Answer(outcome=outcome), attempts=40, age=60 * MINUTE).status == "unanswered"


def test_it_waits_as_long_as_it_is_told_but_not_beyond_its_patience() -> None:
    told = Answer(outcome=Outcome.NOT_SENT, retry_after=5 * MINUTE)
    assert after_call(told, attempts=1, age=MINUTE).due_in == 5 * MINUTE
    assert after_call(told, attempts=1, age=56 * MINUTE).status == "unanswered"


def test_what_is_refused_is_not_asked_again() -> None:
    assert after_call(Answer(outcome=Outcome.REFUSED), attempts=1, age=MINUTE).status == "unanswered"
