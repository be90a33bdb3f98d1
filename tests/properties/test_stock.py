"""The stock against its model: what came, what left, and what each order holds.

Whatever shoppers, the bank, the clock, the warehouse and people do, in any order: on hand is what came minus what left,
reserved is what orders hold, neither is ever promised twice, and each hold ends once.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from django.db import connection, transaction
from django.db.models import Model, QuerySet, Sum
from django.db.models.functions import Now
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from outbox.dispatcher import dispatch_once
from outbox.events import DomainEvent
from outbox.models import Decision
from outbox.publisher import publish
from outbox.relay import relay_once
from payments.events import PaymentActionRequired, PaymentCanceled, PaymentDeclined, PaymentFailed, PaymentProcessed
from payments.models import Payment
from shop import decisions, stock
from shop.models import Concern, Order, OrderLine, Product, Shipment, Stock, StockMovement
from shop.process_managers import ENDED, NotPossible
from tests import clean
from tests.integration.orders import offer, place
from tests.properties.profiles import tried
from tests.threads import together

# What the bank may say of a payment, by its status; the event that reports it.
ANSWERS: dict[str, list[str]] = {
    "unprocessed": ["succeeded", "declined", "requires_action", "failed"],
    "requires_action": ["succeeded", "declined", "failed"],
    "canceling": ["canceled", "succeeded"],
}
# How a line's hold may go on. What was released, or never held, may leave all the same: the warehouse says so.
GOES_ON = {
    "held": {"held", "released", "consumed"},
    "released": {"released", "consumed"},
    "none": {"none", "consumed"},
    "consumed": {"consumed"},
}
pieces = st.integers(1, 3)
nth = st.integers(0, 11)

RowT = TypeVar("RowT", bound=Model)


def one_of(rows: QuerySet[RowT], which: int) -> RowT | None:
    """One of them, if there is any. What is drawn must not depend on them: where two act at once, either may win."""
    found = list(rows)
    return found[which % len(found)] if found else None


def settle() -> None:
    """The order process has heard of everything."""
    while relay_once() + dispatch_once("order-process"):
        pass


class Goods(RuleBasedStateMachine):
    """Two products, of which there is little. The bank is its word alone; all of the shop is real."""

    @initialize(first=st.integers(2, 8), second=st.integers(0, 3))
    def begin(self, first: int, second: int) -> None:
        clean.restore()
        self.products = [offer(stock=first), offer(stock=max(second, 1))]
        self.came = {each.pk: each.stock.on_hand for each in self.products}
        self.holds: dict[int, str] = {}
        self.reports = 0

    # --- shoppers ---------------------------------------------------------------------------------

    @rule(product=st.integers(0, 1), quantity=pieces)
    def an_order(self, product: int, quantity: int) -> None:
        chosen = self.products[product]
        left = Stock.objects.get(pk=chosen.pk).available
        placed = place(chosen, quantity=quantity)
        assert bool(placed.unavailable) == (left < quantity)
        settle()

    @rule(product=st.integers(0, 1), quantity=pieces)
    def two_orders_at_once(self, product: int, quantity: int) -> None:
        chosen = self.products[product]
        left = Stock.objects.get(pk=chosen.pk).available
        both = together(*[lambda: place(chosen, quantity=quantity)] * 2)
        assert [bool(each.unavailable) for each in both].count(False) == min(2, left // quantity)
        settle()

    @rule(which=nth, by=st.sampled_from(["shopper", "operator:olga"]))
    def is_cancelled(self, which: int, by: str) -> None:
        order = one_of(Order.objects.order_by("pk"), which)
        if order is None:
            return
        self.if_possible(lambda: decisions.cancel_order(order_id=order.pk, actor=by, reason="changed their mind"))
        settle()

    @rule()
    def the_clock_runs_out(self) -> None:
        Order.objects.filter(hold_until__isnull=False).update(hold_until=Now())
        decisions.expire_holds()
        settle()

    # --- the bank ---------------------------------------------------------------------------------

    @rule(which=nth, answer=nth)
    def the_bank_answers(self, which: int, answer: int) -> None:
        asked = Payment.objects.filter(status__in=ANSWERS, due_at__isnull=False)
        waits = Payment.objects.filter(status="requires_action")
        payment = one_of((asked | waits).order_by("pk"), which)
        if payment is None:
            return
        answers = ANSWERS[payment.status]
        self.bank_says(payment, answers[answer % len(answers)])
        settle()

    @staticmethod
    def bank_says(payment: Payment, status: str) -> None:
        """As the payments worker would record it, but without a call."""
        known: dict[str, Any] = {
            "order_id": payment.order_id,
            "payment_id": str(payment.public_id),
            "amount": payment.amount,
            "currency": payment.currency,
        }
        events: dict[str, Callable[[], DomainEvent]] = {
            "succeeded": lambda: PaymentProcessed(**known, intent_id=f"pi_{payment.pk}"),
            "declined": lambda: PaymentDeclined(**known, card_no=payment.card_no, code="declined"),
            "requires_action": lambda: PaymentActionRequired(**known, card_no=payment.card_no),
            "failed": lambda: PaymentFailed(**known, code="canceled_at_the_bank"),
            "canceled": lambda: PaymentCanceled(**known, code="requested"),
        }
        changes: dict[str, Any] = {"status": status, "due_at": None, "intent_id": f"pi_{payment.pk}", "attempts": 1}
        if status in Payment.FINAL:
            changes["settled_at"] = Now()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")  # past `processing`
            Payment.objects.filter(pk=payment.pk).update(**changes)
            publish(events[status]())

    # --- the warehouse and people -----------------------------------------------------------------

    @rule(which=nth, kind=st.sampled_from(Shipment.Kind.values), again=st.booleans())
    def the_warehouse_reports(self, which: int, kind: str, again: bool) -> None:
        order = one_of(Order.objects.order_by("pk"), which)
        if order is None:
            return
        self.reports += 1
        told: dict[str, Any] = {
            "reference": f"W-{self.reports}",
            "order_id": order.pk,
            "kind": kind,
            "reported_by": "warehouse",
        }
        assert decisions.record_shipment(**told)
        if again:
            assert not decisions.record_shipment(**told)
        settle()

    @rule(which=nth, kind=st.sampled_from(Shipment.Kind.values))
    def cancelled_while_the_warehouse_reports(self, which: int, kind: str) -> None:
        accepted = one_of(Order.objects.filter(status="accepted").order_by("pk"), which)
        if accepted is None:
            return
        order = accepted.pk
        self.reports += 1
        reference = f"W-{self.reports}"
        together(
            lambda: self.if_possible(lambda: decisions.cancel_order(order_id=order, actor="shopper", reason="late")),
            lambda: decisions.record_shipment(reference=reference, order_id=order, kind=kind, reported_by="warehouse"),
        )
        settle()

    @rule(product=st.integers(0, 1), kind=st.sampled_from(["receipt", "return", "correction"]), quantity=pieces)
    def goods_move(self, product: int, kind: str, quantity: int) -> None:
        chosen = self.products[product]
        signed = -quantity if kind == "correction" else quantity
        left = Stock.objects.get(pk=chosen.pk).available
        with transaction.atomic():
            try:
                self.move(chosen, kind, signed)
            except stock.TooFew:
                assert left + signed < 0
                return
        assert left + signed >= 0
        self.came[chosen.pk] += signed

    @staticmethod
    def move(product: Product, kind: str, quantity: int) -> None:
        stock.move(
            product=product, kind=StockMovement.Kind(kind), quantity=quantity, actor="operator:willy", reason="counted"
        )

    @staticmethod
    def if_possible(decide: Callable[[], object]) -> None:
        before = Decision.objects.count()
        try:
            decide()
        except NotPossible:
            assert Decision.objects.count() == before

    # --- what always holds ------------------------------------------------------------------------

    @invariant()
    def on_hand_is_what_came_minus_what_left(self) -> None:
        for row in Stock.objects.filter(pk__in=self.came):
            left = self.total(row.pk, "consumed")
            assert row.on_hand == self.came[row.pk] - left
            moved = StockMovement.objects.filter(product=row.pk).aggregate(total=Sum("quantity"))["total"]
            assert row.on_hand == moved
            assert row.reserved == self.total(row.pk, "held")
            assert 0 <= row.reserved <= row.on_hand

    @staticmethod
    def total(product: int, hold: str) -> int:
        lines = OrderLine.objects.filter(product=product, hold=hold)
        return lines.aggregate(total=Sum("quantity"))["total"] or 0

    @invariant()
    def each_hold_ends_once(self) -> None:
        for line in OrderLine.objects.select_related("order").order_by("pk"):
            before = self.holds.get(line.pk, line.hold)
            assert line.hold in GOES_ON[before]
            self.holds[line.pk] = line.hold
            left = StockMovement.objects.filter(order=line.order_id, product=line.product_id, kind="shipment").count()
            assert left == (line.hold == "consumed")
            if line.order.status in ENDED:
                assert line.hold != "held"
            elif line.order.status == "shipped":
                assert line.hold == "consumed"
            elif line.hold != "consumed":
                assert line.hold == "held"

    @invariant()
    def what_leaves_was_reported(self) -> None:
        for line in OrderLine.objects.filter(hold="consumed"):
            assert Shipment.objects.filter(order=line.order_id, kind="shipped").exists()

    @invariant()
    def goods_of_unknown_money_stay(self) -> None:
        """Nothing is released while money may still move."""
        released = OrderLine.objects.filter(hold="released").values_list("order", flat=True)
        assert not Payment.objects.filter(order_id__in=released, settled_at__isnull=True).exists()


def test_the_stock_is_its_model(store: None, settings: Any) -> None:
    settings.REVIEW_ORDERS_PER_EMAIL = settings.REVIEW_ORDERS_PER_ADDRESS = 0
    run_state_machine_as_test(Goods, settings=tried(12, steps=20))


@pytest.mark.parametrize("kind", Shipment.Kind.values)
def test_a_report_about_an_order_that_was_sold_out_holds_the_books(store: None, kind: str) -> None:
    clean.restore()
    product = offer(stock=1)
    order = place(product, quantity=2).order
    decisions.record_shipment(reference="W-1", order_id=order.pk, kind=kind, reported_by="warehouse")
    settle()
    assert Stock.objects.get().on_hand == 1
    assert Concern.objects.exists() == (kind != "withdrawn")
