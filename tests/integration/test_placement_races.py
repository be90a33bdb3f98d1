"""Orders that are written at the same moment, each by its one statement: real threads, real connections."""

import contextlib
import queue
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.db.models import F, Sum

from outbox import crash_points
from outbox.models import OutboxRecord
from payments.models import Payment
from shop import placement, services
from shop.models import Order, OrderLine, Stock
from shop.services import CheckoutConflict, Placed
from tests.integration.orders import offer
from tests.integration.test_placement import Sent, cart
from tests.local.waiting import wait_until
from tests.threads import together

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def deadlocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """There is none: whoever met one would wait for an hour, and no test does."""
    options = connection.settings_dict["OPTIONS"]
    monkeypatch.setitem(options, "options", f"{options['options']} -c deadlock_timeout=1h")
    connection.close()
    yield
    connection.close()


@pytest.fixture
def by_statement(monkeypatch: pytest.MonkeyPatch) -> Counter[bool]:
    """How often the statement has placed an order, and how often it has not."""
    counted: Counter[bool] = Counter()
    at_once = placement.place_at_once

    def watched(**given: Any) -> bool:
        is_placed = at_once(**given)
        counted[is_placed] += 1
        return is_placed

    monkeypatch.setattr(services, "place_at_once", watched)
    return counted


def step_by_step(patch: pytest.MonkeyPatch, *, share: float) -> None:
    """So many of the orders that come are placed without the statement."""
    at_once = placement.place_at_once
    dice = random.Random(3)  # noqa: S311 - no secret
    patch.setattr(services, "place_at_once", lambda **order: dice.random() >= share and at_once(**order))


def books_are_right() -> None:
    """Every order is whole: held with a payment and two events, or cancelled with neither hold nor payment."""
    for order in Order.objects.all():
        holds = set(order.lines.values_list("hold", flat=True))
        types = list(
            OutboxRecord.objects.filter(aggregateid=str(order.pk)).order_by("seq").values_list("type", flat=True)
        )
        paid = Payment.objects.filter(order_id=order.pk, amount=order.total).count()
        if order.status == Order.Status.PLACED:
            assert (holds, types, paid) == ({"held"}, ["OrderPlaced", "InventoryReserved"], 1)
        else:
            assert (order.status, holds, types, paid) == ("cancelled", {"none"}, ["InventoryUnavailable"], 0)
        assert sum(line.amount for line in order.lines.all()) == order.subtotal
    held = OrderLine.objects.filter(hold="held").values_list("product").annotate(Sum("quantity"))
    assert dict(held) == dict(Stock.objects.filter(reserved__gt=0).values_list("pk", "reserved"))
    assert not Stock.objects.filter(reserved__gt=F("on_hand")).exists()


@pytest.mark.parametrize("pieces", [1, 5])
def test_the_last_pieces(pieces: int, by_statement: Counter[bool]) -> None:
    last = offer(stock=pieces)
    placed = together(*[cart((last, 1)).place for _ in range(12)])
    assert len([each for each in placed if not each.unavailable]) == pieces
    assert by_statement[True] == pieces
    assert Stock.objects.get().reserved == pieces
    books_are_right()


def test_the_last_piece_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    step_by_step(monkeypatch, share=1.0)
    last = offer(stock=1)
    placed = together(*[cart((last, 1)).place for _ in range(12)])
    assert len([each for each in placed if not each.unavailable]) == 1
    books_are_right()


def test_the_last_pieces_of_many_products_in_any_order() -> None:
    dice = random.Random(7)  # noqa: S311 - no secret
    products = [offer(stock=12) for _ in range(6)]

    def shopper(seed: int) -> Callable[[], int]:
        dice = random.Random(seed)  # noqa: S311 - no secret
        return lambda: sum(
            not cart(*((each, dice.randint(1, 3)) for each in dice.sample(products, 4))).place().unavailable
            for _ in range(6)
        )

    placed = sum(together(*[shopper(dice.randrange(10**6)) for _ in range(8)]))
    assert Order.objects.count() == 48
    assert Order.objects.filter(status="placed").count() == placed > 0
    books_are_right()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_one_checkout_sent_by_many(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of them step by step: both ways lock in one order."""
    step_by_step(monkeypatch, share=share)
    products = [offer(stock=3) for _ in range(3)]
    for _ in range(6):
        sent = cart(*((product, 1) for product in products))
        placed = together(*[sent.place] * 6)
        assert len({each.order.pk for each in placed}) == 1
        assert sorted(each.repeated for each in placed) == [False] + [True] * 5
        assert len({each.unavailable for each in placed}) == 1
    assert Counter(Order.objects.values_list("status", flat=True)) == {"placed": 3, "cancelled": 3}
    books_are_right()


class GivenUp(Exception):
    """The first order is not committed."""


def give_up() -> None:
    raise GivenUp


def one_after_the_other(
    first: Sent, second: Sent, *, meanwhile: Callable[[], None] = lambda: None
) -> tuple[Placed | None, Placed]:
    """The second is sent while the first is written and not committed, and waits for it; `meanwhile` is done in the
    first one's transaction."""
    backend: queue.Queue[int] = queue.Queue()

    def send_second() -> Placed:
        connection.ensure_connection()
        backend.put(connection.connection.info.backend_pid)
        try:
            return second.place()
        finally:
            connection.close()

    def is_waiting(pid: int) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT cardinality(pg_blocking_pids(%s))", [pid])
            return bool(cursor.fetchone()[0])

    main = threading.current_thread()
    later: list[Future[Placed]] = []

    with ThreadPoolExecutor(max_workers=1) as pool:

        def at_point(name: str) -> None:
            if name != "O1" or threading.current_thread() is not main:
                return
            later.append(pool.submit(send_second))
            pid = backend.get(timeout=30)
            wait_until(lambda: is_waiting(pid))
            meanwhile()

        answer = None
        with crash_points.watching(at_point), contextlib.suppress(GivenUp):
            answer = first.place()
    return answer, later[0].result()


def test_what_was_taken_while_it_waited_is_read_again(by_statement: Counter[bool]) -> None:
    """It begins while there are enough; when it has the lock there are not."""
    plenty, last = offer(), offer(stock=1)
    first, second = one_after_the_other(cart((last, 1)), cart((plenty, 2), (last, 1)))
    assert first
    assert (first.unavailable, second.unavailable) == ((), (last.pk,))
    assert by_statement == {True: 1, False: 1}
    assert dict(Stock.objects.values_list("pk", "reserved")) == {plenty.pk: 0, last.pk: 1}
    books_are_right()


def test_what_is_left_while_it_waited_is_enough(by_statement: Counter[bool]) -> None:
    product = offer(stock=5)
    first, second = one_after_the_other(cart((product, 2)), cart((product, 3)))
    assert first
    assert not first.unavailable + second.unavailable
    assert by_statement == {True: 2}
    assert Stock.objects.get().reserved == 5
    books_are_right()


def test_what_it_waited_for_was_given_up(by_statement: Counter[bool]) -> None:
    last = offer(stock=1)
    _, second = one_after_the_other(cart((last, 1)), cart((last, 1)), meanwhile=give_up)
    assert not second.unavailable
    assert by_statement == {True: 2}
    assert Order.objects.get() == second.order
    books_are_right()


def test_the_same_checkout_while_it_is_written() -> None:
    sent = cart((offer(), 1))
    first, second = one_after_the_other(sent, sent)
    assert first
    assert second == replace(first, repeated=True)
    assert Stock.objects.get().reserved == 1
    books_are_right()


@pytest.mark.parametrize("is_given_up", [False, True])
def test_the_same_checkout_with_other_goods_while_it_is_written(is_given_up: bool) -> None:
    """It is the checkout that is waited for, and not the stock."""
    lamp, rope = offer(), offer()
    sent = cart((lamp, 1))
    other = replace(cart((rope, 1)), token=sent.token)
    if is_given_up:
        _, second = one_after_the_other(sent, other, meanwhile=give_up)
        assert Order.objects.get() == second.order
    else:
        with pytest.raises(CheckoutConflict):
            one_after_the_other(sent, other)
    reserved = dict(Stock.objects.values_list("pk", "reserved"))
    assert reserved == {lamp.pk: int(not is_given_up), rope.pk: int(is_given_up)}
    books_are_right()


def test_stock_is_locked_in_the_products_order() -> None:
    """While it waits for the first product it has not locked the second."""
    lamp, rope = offer(), offer()
    free: list[Stock] = []

    def look() -> None:
        free.extend(Stock.objects.select_for_update(no_key=True, skip_locked=True).filter(pk=rope.pk))

    one_after_the_other(cart((lamp, 1)), cart((rope, 1), (lamp, 1)), meanwhile=look)
    assert [stock.pk for stock in free] == [rope.pk]
    books_are_right()
