"""Orders of one e-mail address, or to one delivery address, faster than usual: seen in real rows."""

import datetime as dt
import itertools
import random
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F

from outbox.dispatcher import dispatch_once
from outbox.models import Event
from outbox.relay import relay_once
from payments.models import Payment
from shop.models import DESTINATION, SENDER, Order, Product
from shop.velocity import WINDOW, Pace, paces
from tests.integration.orders import offer, place
from tests.snapshots import counting_scans

pytestmark = pytest.mark.django_db(transaction=True)

_streets = itertools.count(1)


@pytest.fixture(autouse=True)
def limits(settings: Any) -> Any:
    settings.REVIEW_ORDERS_PER_EMAIL = 2
    settings.REVIEW_ORDERS_PER_ADDRESS = 2
    return settings


@pytest.fixture
def lamp() -> Product:
    return offer(stock=100)


def of(lamp: Product, email: str) -> Order:
    """An order of this e-mail address, to a place of its own."""
    return place(lamp, email=email, address=f"{next(_streets)} Pine Avenue").order


def to(lamp: Product, address: str, *, postal_code: str = "20457") -> Order:
    """An order to this place, of an e-mail address of its own."""
    email = f"shopper-{next(_streets)}@example.org"
    return place(lamp, email=email, address=address, postal_code=postal_code).order


def decide() -> None:
    """Let the order process hear of the orders, and the log of what it did."""
    while relay_once():
        dispatch_once("order-process")


def statuses() -> list[str]:
    return list(Order.objects.order_by("pk").values_list("status", flat=True))


def test_the_third_order_of_an_email_address_waits_uncharged(lamp: Product) -> None:
    for email in ("ada@example.org", "Ada@Example.ORG", "ADA@example.org", "eve@example.org"):
        of(lamp, email)
    decide()
    assert statuses() == ["awaiting_payment", "awaiting_payment", "under_review", "awaiting_payment"]
    assert Event.objects.get(type="OrderUnderReview").payload["reasons"] == ["orders_of_email"]
    waiting = Order.objects.get(status="under_review")
    assert Payment.objects.get(order_id=waiting.pk).due_at is None


def test_the_third_order_to_a_place_waits_however_it_is_written(lamp: Product) -> None:
    to(lamp, "Große Elbstraße 12 b")
    to(lamp, "GROSSE ELBSTRASSE 12 B")  # ß and ss are two letters here: another place
    to(lamp, "große  elbstraße 12b", postal_code="20 457")
    to(lamp, "Große Elbstraße 12 b", postal_code="20459")
    to(lamp, "Große Elbstraße, 12-b.")
    decide()
    assert statuses() == [*["awaiting_payment"] * 2, "under_review", "awaiting_payment", "under_review"]
    reasons = Event.objects.filter(type="OrderUnderReview").order_by("position").values_list("payload__reasons")
    assert list(reasons) == [(["postal_code_unlikely"],), (["orders_to_address"],)]


def test_only_the_hour_before_an_order_counts(lamp: Product) -> None:
    orders = [of(lamp, "ada@example.org") for _ in range(3)]
    Order.objects.filter(pk=orders[0].pk).update(created_at=F("created_at") - dt.timedelta(minutes=61))
    decide()
    assert statuses() == ["awaiting_payment"] * 3
    of(lamp, "ada@example.org")
    decide()
    assert statuses()[-1] == "under_review"


def test_it_is_the_same_however_late_it_is_asked(lamp: Product) -> None:
    """In one batch, hours later: those that came first still go through."""
    for _ in range(5):
        of(lamp, "ada@example.org")
    Order.objects.update(created_at=F("created_at") - dt.timedelta(hours=5))
    decide()
    assert statuses() == [*["awaiting_payment"] * 2, *["under_review"] * 3]


def test_who_was_told_sold_out_may_try_again(lamp: Product) -> None:
    last = offer(stock=1)
    placed = [place(last, email="ada@example.org", address=f"{next(_streets)} Pine Avenue") for _ in range(4)]
    assert [bool(each.unavailable) for each in placed] == [False, True, True, True]
    of(lamp, "ada@example.org")
    decide()
    assert statuses() == ["awaiting_payment", *["cancelled"] * 3, "awaiting_payment"]


def test_0_is_no_limit(lamp: Product, limits: Any) -> None:
    limits.REVIEW_ORDERS_PER_EMAIL = limits.REVIEW_ORDERS_PER_ADDRESS = 0
    orders = [place(lamp).order for _ in range(4)]
    assert set(paces(orders).values()) == {Pace()}


def told_plainly(order: Order, *, per_email: int, per_address: int) -> Pace:
    """What `paces` reads with one statement for a batch."""
    orders = Order.objects.annotate(sender=SENDER, destination=DESTINATION)
    own = orders.get(pk=order.pk)
    before = orders.filter(created_at__gt=own.created_at - WINDOW, created_at__lte=own.created_at)
    counted = before.exclude(process__has_key="unavailable")
    return Pace(
        busy_email=0 < per_email < counted.filter(sender=own.sender).count(),
        busy_address=0 < per_address < counted.filter(destination=own.destination).count(),
    )


@pytest.mark.parametrize(("per_email", "per_address"), [(1, 3), (3, 1), (0, 2), (2, 0)])
def test_it_says_what_plain_queries_say(lamp: Product, limits: Any, per_email: int, per_address: int) -> None:
    limits.REVIEW_ORDERS_PER_EMAIL, limits.REVIEW_ORDERS_PER_ADDRESS = per_email, per_address
    chance = random.Random(per_email * 10 + per_address)  # noqa: S311 - no secret
    for _ in range(60):
        order = place(
            lamp,
            email=chance.choice(["ada@example.org", "Ada@Example.org", "eve@example.org", "mallory@example.org"]),
            address=chance.choice(["Elm Street 1", "elm street, 1", "Elm Street 2", "Oak Road 5", "OAK-ROAD 5"]),
        ).order
        if chance.random() < 0.2:
            Order.objects.filter(pk=order.pk).update(process={"unavailable": [lamp.pk]})
        # To the minute, so that some are exactly an hour apart, or at one moment.
        moment = order.created_at.replace(second=0, microsecond=0) - dt.timedelta(minutes=chance.randrange(0, 180, 10))
        Order.objects.filter(pk=order.pk).update(created_at=moment)
    orders = list(Order.objects.all())
    plainly = {each.pk: told_plainly(each, per_email=per_email, per_address=per_address) for each in orders}
    assert paces(orders) == plainly
    assert len(set(plainly.values())) == (4 if per_email and per_address else 2)


def test_a_whole_batch_is_read_at_once_through_the_indexes(lamp: Product) -> None:
    orders = [of(lamp, "ada@example.org") for _ in range(3)] + [to(lamp, "Harbour Street 1") for _ in range(3)]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # six rows are read from end to end otherwise
        with counting_scans("order_by_sender", "order_by_destination", "shop_order") as count:
            cursor.execute(_RUN)
            ((before,),) = cursor.fetchall()
            read = paces(orders)
            cursor.execute(_RUN)
            ((after,),) = cursor.fetchall()
            scanned = count()
    assert [read[order.pk] for order in orders] == [
        *[Pace()] * 2,
        Pace(busy_email=True),
        *[Pace()] * 2,
        Pace(busy_address=True),
    ]
    assert after == before + 1
    assert scanned == {"order_by_sender": 6, "order_by_destination": 6, "shop_order": 0}


# Prepared statements that this connection has run.
_RUN = "SELECT coalesce(sum(generic_plans + custom_plans), 0) FROM pg_prepared_statements"
