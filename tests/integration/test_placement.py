"""The one statement of an ordinary order against the steps that it stands for: both write and refuse the same.

How it behaves among others stands in test_placement_races.py.
"""

import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import DatabaseError, connection, models, transaction
from hypothesis import given
from hypothesis import strategies as st
from psycopg.pq import Trace

from outbox import context, prepared
from outbox.doorbell import Doorbell
from outbox.models import OutboxRecord
from outbox.publisher import RELAY
from payments.models import Payment
from shop import placement, services
from shop.models import Order, OrderLine, Product, ShippingMethod, Stock
from shop.services import CartLine, Contact, Placed, place_order
from shop.sessions import SessionStore
from tests.integration.orders import SHIPPING, offer, place
from tests.properties.profiles import tried

Json = Any
STORY = context.Context.new(actor="shopper")
ADA = Contact(
    name="Ada Lovelace",
    email="ada@example.org",
    address="Am Sandtorkai 1",
    postal_code="20457",
    city="Hamburg",
    country="DE",
)
# Each row has its own; of what kind they are must be the same all the same.
OWN = {"id", "seq", "public_id", "created_at", "updated_at"}
# Whose values name an order.
NAMING = {"order_id", "reference", "aggregateid", "token", "return_url"}


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What a shopper sends."""

    lines: tuple[CartLine, ...]
    total: int
    token: uuid.UUID
    contact: Contact = ADA
    shipping: str = "standard"

    def place(self, along: prepared.Addition | None = None) -> Placed:
        return place_order(
            checkout_token=self.token,
            lines=self.lines,
            contact=self.contact,
            shipping_code=self.shipping,
            payment_method="pm_card_visa",
            expected_total=self.total,
            along=along,
        )


def cart(*wanted: tuple[Product, int]) -> Sent:
    return Sent(
        lines=tuple(CartLine(product_id=product.pk, quantity=quantity) for product, quantity in wanted),
        total=sum(product.price * quantity for product, quantity in wanted) + SHIPPING,
        token=uuid.uuid4(),
    )


def outcome(sent: Sent) -> tuple[Json, list[Json]]:
    """What the shopper is told, and every row that there is then. Nothing of it stays."""
    with transaction.atomic():
        try:
            with transaction.atomic(), context.bound(STORY):
                placed = sent.place()
        except DatabaseError as error:
            told: Json = type(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is compared
            told = type(error), str(error)
        else:
            order = {field.attname: getattr(placed.order, field.attname) for field in Order._meta.concrete_fields}
            told = masked(order), placed.unavailable, placed.repeated, placed.order._state.adding
        rows = [
            [model.__name__, masked(row)]
            for model in (Order, OrderLine, Payment, OutboxRecord, Stock)
            for row in model._default_manager.order_by("pk").values()
        ]
        transaction.set_rollback(True)
    return told, rows


def masked(row: Json) -> Json:
    """Without what is each order's own."""
    names: dict[Any, str] = {}
    for number, order in enumerate(Order.objects.order_by("pk")):
        known = (order.pk, str(order.pk), order.number, order.token, f"http://127.0.0.1:8000/orders/{order.token}/")
        names |= {each: f"{type(each).__name__} of order {number}" for each in known}

    def hidden(key: str, value: Json) -> Json:
        if key in OWN:
            return type(value)
        if key in NAMING:
            return names.get(value, value)
        if isinstance(value, dict):
            return {inner: hidden(inner, each) for inner, each in value.items()}
        return [hidden("", each) for each in value] if isinstance(value, list) else value

    return hidden("", row)


def both_ways(sent: Sent) -> tuple[Json, list[Json]]:
    """The outcome, which is the same whether the statement is there or not."""
    at_once = outcome(sent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "place_at_once", lambda **_: False)
        assert outcome(sent) == at_once
    return at_once


def written_at_once(sent: Sent) -> bool:
    """Whether the statement has placed it; it must be no other way then."""
    found = []
    at_once = placement.place_at_once

    def watched(**given: Any) -> bool:
        found.append(at_once(**given))
        return found[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "place_at_once", watched)
        outcome(sent)
    return any(found)


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
contacts = st.builds(
    Contact,
    name=words,
    email=words,
    address=words,
    address_2=words,
    postal_code=words,
    city=words,
    country=st.sampled_from(["DE", "ie", ""]),
)
# Price, stock and quantity of each product: a few are short.
goods = st.lists(
    st.tuples(st.integers(1, 50_000), st.integers(0, 120).map(lambda few: max(few, 5)), st.integers(1, 6)),
    min_size=1,
    max_size=12,
)


@pytest.mark.django_db
@tried(60)
@given(data=st.data())
def test_both_write_the_same(data: st.DataObject) -> None:
    with transaction.atomic():
        wanted = data.draw(goods)
        products = [(offer(price=price, stock=stock), quantity) for price, stock, quantity in wanted]
        sent = replace(cart(*data.draw(st.permutations(products))), contact=data.draw(contacts))
        told, _ = both_ways(sent)
        is_short = any(stock < quantity for _, stock, quantity in wanted)
        is_ordinary = not is_short and sent.total >= 50
        assert bool(isinstance(told[0], dict) and told[0]["status"] == "placed") == is_ordinary
        assert written_at_once(sent) == is_ordinary
        transaction.set_rollback(True)


@pytest.mark.django_db
def test_as_many_lines_as_anybody_likes() -> None:
    sent = cart(*reversed([(offer(price=100 + each), 1 + each % 3) for each in range(300)]))
    assert written_at_once(sent)
    _, rows = both_ways(sent)
    assert len([row for model, row in rows if model == "OrderLine" and row["hold"] == "held"]) == 300


Change = Callable[[Sent], Sent]


def after(change: Callable[[Sent], object]) -> Change:
    """Something has happened to the store before the cart is sent."""

    def made(sent: Sent) -> Sent:
        change(sent)
        return sent

    return made


def first_product(sent: Sent) -> models.QuerySet[Product]:
    return Product.objects.filter(pk=sent.lines[0].product_id)


def first_stock(sent: Sent) -> models.QuerySet[Stock]:
    return Stock.objects.filter(pk=sent.lines[0].product_id)


def costs(price: int) -> Change:
    """One piece, and shipping for nothing."""

    def change(sent: Sent) -> Sent:
        first_product(sent).update(price=price)
        ShippingMethod.objects.update(price=0)
        return replace(sent, lines=(replace(sent.lines[0], quantity=1),), total=price)

    return change


def lines(change: Callable[[tuple[CartLine, ...]], tuple[CartLine, ...]]) -> Change:
    return lambda sent: replace(sent, lines=change(sent.lines))


UNUSUAL: dict[str, Change] = {
    "nothing in the cart": lines(lambda all: ()),
    "a product twice": lines(lambda all: (*all, all[0])),
    "none of a product": lines(lambda all: (replace(all[0], quantity=0), *all[1:])),
    "too many of a product": lines(lambda all: (replace(all[0], quantity=100), *all[1:])),
    "a product that never was": lines(lambda all: (*all, CartLine(product_id=2**40, quantity=1))),
    "a product no longer sold": after(lambda sent: first_product(sent).update(active=False)),
    "no such shipping": lambda sent: replace(sent, shipping="by balloon"),
    "shipping no longer offered": after(lambda sent: ShippingMethod.objects.update(active=False)),
    "too small a total": lambda sent: replace(sent, total=sent.total - 1),
    "a total beyond all numbers": lambda sent: replace(sent, total=10**30),
    "a negative total": lambda sent: replace(sent, total=-1),
    "another price": after(lambda sent: first_product(sent).update(price=1)),
    "shipping costs more": after(lambda sent: ShippingMethod.objects.update(price=SHIPPING + 1)),
    "one short": after(lambda sent: first_stock(sent).update(on_hand=5, reserved=5)),
    "all short": after(lambda sent: Stock.objects.update(on_hand=0)),
    "never stocked": after(lambda sent: first_stock(sent).delete()),
    "sent before": after(Sent.place),
    "sent before, sold out since": after(
        lambda sent: (sent.place(), Stock.objects.update(on_hand=models.F("reserved")))
    ),
    "sent before with another address": lambda sent: (sent.place(), replace(sent, contact=replace(ADA, city="Kiel")))[
        1
    ],
    "sent before, now empty": lambda sent: (sent.place(), replace(sent, lines=()))[1],
    "too little for the bank": costs(49),
    "too much for the bank": costs(100_000_000),
    "a name too long": lambda sent: replace(sent, contact=replace(ADA, name="A" * 121)),
    "a NUL": lambda sent: replace(sent, contact=replace(ADA, name="A\0")),
}


@pytest.mark.django_db
@pytest.mark.parametrize("case", UNUSUAL)
def test_both_refuse_the_same(case: str) -> None:
    sent = UNUSUAL[case](cart((offer(), 1), (offer(price=700), 3)))
    assert not written_at_once(sent)
    both_ways(sent)


@pytest.mark.django_db
@pytest.mark.parametrize("is_short", [True, False])
@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("is_at_once", [True, False])
def test_what_comes_along_is_written_with_an_order_whose_goods_are_held(
    is_short: bool, is_there: bool, is_at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = SessionStore()
    session["cart"] = 1
    session.save()
    told: list[bool] = []
    along = replace(session.without("cart"), told=told.append)
    if not is_there:
        Session.objects.all().delete()
    if not is_at_once:
        monkeypatch.setattr(services, "place_at_once", lambda **_: False)
    sent = cart((offer(stock=1), 1 + is_short))
    for _ in range(2):
        assert bool(sent.place(along).unavailable) == is_short
        assert told == ([] if is_short else [is_there])
        assert ("cart" in SessionStore(session.session_key)) == (is_there and is_short)


@pytest.mark.django_db
def test_the_number_of_a_million_orders() -> None:
    first = place(offer()).order
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval(pg_get_serial_sequence('shop_order', 'id'), 999998)")
    orders = [place(offer()).order for _ in range(2)]
    assert [order.number for order in orders] == ["O-999999", "O-1000000"]
    written = Payment.objects.order_by("order_id").values_list("reference", flat=True)
    assert list(written) == [first.number, "O-999999", "O-1000000"]


def sent_to_the_server(work: Callable[[], object]) -> list[str]:
    """What the client sends that is executed."""
    session = connection.connection.pgconn
    with tempfile.TemporaryFile("w+") as file:
        session.trace(file.fileno())
        session.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS | Trace.REGRESS_MODE)
        try:
            work()
        finally:
            session.untrace()
        file.seek(0)
        sent = [line.split("\t") for line in file if line.startswith("F")]
    return [" ".join(parts[2:]).split(" ")[0] for parts in sent if parts[2].split(" ")[0] in {"Query", "Parse", "Bind"}]


@pytest.mark.django_db(transaction=True)
def test_one_statement_between_begin_and_commit() -> None:
    connection.close()  # with what others have prepared
    place(offer())
    good = [offer() for _ in range(20)]
    for size in (1, 2, 20):
        wanted = cart(*((product, 1) for product in good[:size]))
        assert sent_to_the_server(wanted.place) == ["Query", "Bind", "Query"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        assert cursor.fetchone() == (1,)


@pytest.mark.django_db(transaction=True)
def test_the_relay_is_woken() -> None:
    bell = Doorbell(RELAY)
    try:
        place(offer())
        assert bell.wait(10)
    finally:
        bell.close()


def test_a_row_has_no_column_that_its_model_has_not() -> None:
    with pytest.raises(TypeError, match="Payment has no column amuont"):
        prepared.row(Payment, amuont=1)


@pytest.mark.parametrize("model", [Order, OrderLine, Payment, OutboxRecord])
def test_no_column_is_left_out(model: type[models.Model]) -> None:
    """But those that the database fills in by itself, whoever writes the row."""
    own = {field.attname for field in model._meta.concrete_fields if field.has_db_default() or field.primary_key}
    assert prepared.row(model).keys() | own == {field.attname for field in model._meta.concrete_fields}
