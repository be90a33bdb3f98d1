"""Limits on tries of cards: by address, session and globally; over the limit nothing is written."""

import datetime as dt
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from shop import limits
from shop.limits import HOUR, Limit, TooManyTries, client_address, take
from shop.models import Order, TryCount
from tests.integration.orders import offer
from tests.integration.shopper import Shopper
from tests.threads import together

pytestmark = pytest.mark.django_db

NOON = dt.datetime(2026, 1, 1, 12, 0, tzinfo=dt.UTC)


def limit(who: str = "somebody", *, most: int = 2) -> Limit:
    return Limit(what="test", who=who, most=most, seconds=HOUR)


def test_a_window_counts_and_the_next_begins_anew() -> None:
    late = NOON + dt.timedelta(minutes=50)
    take(limit(), now=NOON)
    take(limit(), now=late)
    with pytest.raises(TooManyTries) as refused:
        take(limit(), now=late)
    assert refused.value.retry_after == 600
    take(limit("somebody else"), now=late)
    take(limit(), now=NOON + dt.timedelta(hours=1))


def test_one_used_up_limit_leaves_the_others_uncounted() -> None:
    take(limit("full", most=1), now=NOON)
    with pytest.raises(TooManyTries):
        take(limit("fresh"), limit("full", most=1), now=NOON)
    assert list(TryCount.objects.values_list("tries", flat=True)) == [1]


def test_zero_is_no_limit_and_writes_nothing() -> None:
    for _ in range(3):
        take(limit(most=0), now=NOON)
    assert not TryCount.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_all_who_try_at_once_share_the_limit() -> None:
    def one() -> bool:
        try:
            take(limit(most=3), limit("all", most=100), now=NOON)
        except TooManyTries:
            return False
        return True

    assert sum(together(*[one] * 8)) == 3
    assert sorted(TryCount.objects.values_list("tries", flat=True)) == [3, 3]


def test_no_address_is_stored_and_old_windows_go() -> None:
    take(limit("198.51.100.7"), now=NOON)
    assert "198.51.100.7" not in TryCount.objects.get().source
    take(limit("198.51.100.7"), now=dt.datetime.now(dt.UTC))
    assert limits.forget() == 1
    assert TryCount.objects.count() == 1


@pytest.mark.parametrize(
    ("remote", "forwarded", "behind_proxy", "address"),
    [
        ("198.51.100.7", "203.0.113.1", False, "198.51.100.7"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.1", True, "203.0.113.1"),
        ("10.0.0.1", "", True, "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "", False, "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.7", "", False, "198.51.100.7"),
        ("", "", False, ""),
    ],
)
def test_whose_address_counts(remote: str, forwarded: str, behind_proxy: bool, address: str, settings: Any) -> None:
    settings.BEHIND_PROXY = behind_proxy
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    assert client_address(RequestFactory().get("/", REMOTE_ADDR=remote, headers=headers)) == address


def refused(response: HttpResponse) -> bool:
    return response.status_code == 429 and int(response["Retry-After"]) > 0


@pytest.mark.parametrize("setting", ["CARD_TRIES_PER_ADDRESS", "CARD_TRIES_GLOBAL"])
def test_another_session_does_not_help(setting: str, settings: Any) -> None:
    setattr(settings, setting, 1)
    product = offer()
    Shopper().order(product)
    slower = Shopper()
    slower.put(product)
    answer = slower.send(slower.filled())
    assert refused(answer)
    assert "nothing was charged" in answer.content.decode()
    assert Order.objects.count() == 1


def test_a_session_may_try_only_so_often_but_the_same_order_is_no_new_try(settings: Any) -> None:
    settings.CARD_TRIES_PER_SESSION = 1
    product = offer()
    shopper = Shopper()
    shopper.put(product)
    form = shopper.filled()
    addresses = {shopper.send(form)["Location"] for _ in range(3)}
    assert len(addresses) == 1
    shopper.put(product)
    assert refused(shopper.send(shopper.filled()))
    assert Order.objects.count() == 1


def test_a_form_with_mistakes_is_no_try(settings: Any) -> None:
    settings.CARD_TRIES_GLOBAL = 1
    shopper = Shopper()
    shopper.put(offer())
    assert shopper.send(shopper.filled(email="nobody")).status_code == 422
    assert not TryCount.objects.exists()
