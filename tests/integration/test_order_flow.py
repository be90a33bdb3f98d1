"""From place_order to money, through the real process, sweep and bank."""

import itertools
import json
import uuid
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from outbox.models import Event, OutboxRecord
from outbox.sweep import sweep
from payments.models import Payment
from shop.models import Order, OrderLine, Product, ShippingMethod, Stock, StockMovement
from shop.services import CartLine, CheckoutConflict, CheckoutRefused, Contact, Placed, PriceChanged, place_order
from tests.sandbox_process import SandboxProcess
from tests.threads import together

pytestmark = pytest.mark.django_db(transaction=True)

_numbers = itertools.count(1)


def product(*, price: int = 2000, stock: int = 10) -> Product:
    number = next(_numbers)
    made = Product.objects.create(slug=f"thing-{number}", name=f"Thing {number}", category="Things", price=price)
    Stock.objects.create(product=made, on_hand=stock)
    StockMovement.objects.create(product=made, kind="receipt", quantity=stock)
    return made


@pytest.fixture
def shipping() -> ShippingMethod:
    return ShippingMethod.objects.create(code="standard", name="Standard", price=490, days="2–3 days")


@pytest.fixture(autouse=True)
def bank(sandbox: SandboxProcess, settings: Any) -> SandboxProcess:
    settings.STRIPE_API_BASE = settings.SENDGRID_API_BASE = sandbox.url
    sandbox.clear_faults()
    return sandbox


def place(
    *lines: tuple[Product, int],
    token: uuid.UUID | None = None,
    postal_code: str = "20457",
    country: str = "DE",
    expected_total: int | None = None,
    card: str = "pm_card_visa",
) -> Placed:
    return place_order(
        checkout_token=token or uuid.uuid4(),
        lines=[CartLine(product_id=each.pk, quantity=quantity) for each, quantity in lines],
        contact=Contact(
            name="Ada Lovelace",
            email="ada@example.org",
            address="Am Sandtorkai 1",
            postal_code=postal_code,
            city="Hamburg",
            country=country,
        ),
        shipping_code="standard",
        payment_method=card,
        expected_total=sum(each.price * quantity for each, quantity in lines) + 490
        if expected_total is None
        else expected_total,
    )


def story(order: Order) -> list[str]:
    return list(Event.objects.filter(aggregateid=str(order.pk)).order_by("position").values_list("type", flat=True))


def test_an_order_is_placed_charged_and_accepted(shipping: ShippingMethod) -> None:
    lamp, rope = product(price=2500), product(price=700)
    order = place((lamp, 1), (rope, 2)).order
    assert order.total == 2500 + 1400 + 490
    payment = Payment.objects.get(order_id=order.pk)
    assert (payment.status, payment.amount, payment.due_at) == ("unprocessed", order.total, None)
    assert OutboxRecord.objects.count() == 2
    sweep(seconds=30)
    order.refresh_from_db()
    assert order.status == Order.Status.ACCEPTED
    assert story(order) == [
        "OrderPlaced",
        "InventoryReserved",
        "PaymentProcessed",
        "OrderPaid",
        "OrderAccepted",
        "PicklistRequested",
    ]
    correlations = {headers["correlation_id"] for headers in Event.objects.values_list("headers", flat=True)}
    assert len(correlations) == 1
    assert [stock.reserved for stock in Stock.objects.order_by("pk")] == [1, 2]


def test_the_same_checkout_at_once_is_one_order(shipping: ShippingMethod) -> None:
    lamp, token = product(), uuid.uuid4()
    placed = together(*[lambda: place((lamp, 1), token=token)] * 6)
    assert len({each.order.pk for each in placed}) == 1
    assert sorted(each.repeated for each in placed) == [False] + [True] * 5
    assert (Order.objects.count(), Payment.objects.count()) == (1, 1)
    assert Stock.objects.get().reserved == 1
    with pytest.raises(CheckoutConflict):
        place((lamp, 2), token=token)


def test_the_last_piece_goes_to_one(shipping: ShippingMethod) -> None:
    last = product(stock=1)
    placed = together(*[lambda: place((last, 1))] * 12)
    held = [each.order for each in placed if not each.unavailable]
    assert len(held) == 1
    assert all(each.unavailable == (last.pk,) for each in placed if each.order != held[0])
    assert Payment.objects.get().order_id == held[0].pk
    sold_out = Order.objects.exclude(pk=held[0].pk)
    assert set(sold_out.values_list("status", flat=True)) == {"cancelled"}
    assert set(OrderLine.objects.exclude(order=held[0]).values_list("hold", flat=True)) == {"none"}
    sweep(seconds=30)
    assert Order.objects.filter(status="accepted").count() == 1
    assert story(sold_out[0]) == ["InventoryUnavailable"]


def test_two_products_in_either_order_do_not_deadlock(shipping: ShippingMethod) -> None:
    a, b = product(stock=500), product(stock=500)

    def buyer(*lines: tuple[Product, int]) -> int:
        for _ in range(15):
            place(*lines)
        return 15

    together(*[lambda: buyer((a, 1), (b, 1)), lambda: buyer((b, 1), (a, 1))] * 3)
    assert set(Stock.objects.values_list("reserved", flat=True)) == {90}


def test_refusals_write_nothing(shipping: ShippingMethod) -> None:
    lamp = product()
    with pytest.raises(PriceChanged):
        place((lamp, 1), expected_total=1)
    with pytest.raises(CheckoutRefused, match="empty"):
        place()
    with pytest.raises(CheckoutRefused, match="1 to 99"):
        place((lamp, 100))
    lamp.active = False
    lamp.save()
    with pytest.raises(CheckoutRefused, match="no longer sold"):
        place((lamp, 1))
    assert (Order.objects.count(), OutboxRecord.objects.count(), Stock.objects.get().reserved) == (0, 0, 0)


def test_a_country_we_do_not_serve_is_rejected_and_its_goods_are_freed(shipping: ShippingMethod) -> None:
    lamp = product()
    order = place((lamp, 1), country="US").order
    sweep(seconds=30)
    order.refresh_from_db()
    assert (order.status, order.process["reason"]) == (Order.Status.CANCELLED, "rejected")
    assert story(order) == ["OrderPlaced", "InventoryReserved", "PaymentCanceled", "OrderCancelled"]
    assert Stock.objects.get().reserved == 0
    assert OrderLine.objects.get().hold == "released"


def test_an_unusual_order_waits_for_a_person(shipping: ShippingMethod) -> None:
    treasure = product(price=300_000)
    order = place((treasure, 1)).order
    sweep(seconds=30)
    order.refresh_from_db()
    assert order.status == Order.Status.UNDER_REVIEW
    assert Event.objects.get(type="OrderUnderReview").payload["reasons"] == ["amount_unusual"]
    assert Payment.objects.get().due_at is None


def test_a_declined_order_keeps_its_goods_and_waits(shipping: ShippingMethod) -> None:
    lamp = product()
    order = place((lamp, 1), card="pm_card_visa_chargeDeclined").order
    sweep(seconds=30)
    order.refresh_from_db()
    assert order.status == Order.Status.PAYMENT_DECLINED
    assert Stock.objects.get().reserved == 1


def test_the_whole_story_of_an_order_is_told(shipping: ShippingMethod, capsys: pytest.CaptureFixture[str]) -> None:
    lamp = product()
    order = place((lamp, 1)).order
    sweep(seconds=30)
    call_command("explain_order", order.number, "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["status"], told["payment"]) == ("accepted", "succeeded")
    whats = [entry["what"] for entry in told["timeline"]]
    assert whats[0] == "We have your order"
    assert "create (card 1)" in whats
    assert "confirm: answered" in whats
    call_command("explain_order", str(order.pk), "--customer")
    shown = capsys.readouterr().out
    assert "Your order is confirmed" in shown
    assert "pi_" not in shown.split("when (UTC)")[1]
    with pytest.raises(CommandError, match="There is no order"):
        call_command("explain_order", "nonsense")
