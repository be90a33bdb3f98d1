"""What people may do with orders, screenings, concerns and stock."""

import uuid
from collections.abc import Iterable
from typing import Any, ClassVar

from django import forms

from outbox import questions
from outbox.claim_operations import claim_operations
from outbox.claim_operations import state as claim_state
from outbox.operating import Fact, Operation, ReasonForm, Subject, locking, register, story_facts
from outbox.questions import question_operations
from payments.money import display
from shop import stock
from shop.decisions import cancel_order, review_order
from shop.models import Concern, Order, Product, Screening, Stock, StockMovement
from shop.process_managers import CANCELLABLE, NotPossible

# --- orders -----------------------------------------------------------------------------------------


@story_facts
def order_facts(story: str) -> Iterable[Fact]:
    """Whom and what it is about, on every confirmation."""
    order = Order.objects.filter(pk=story).first()
    if order is None:
        return ()
    total = display(amount=order.total, currency=order.currency)
    return (
        ("Order", f"{order.number}, {total}, {order.get_status_display().lower()}"),
        ("Customer", f"{order.name}, {order.email}, {order.city} ({order.country})"),
    )


class Cancel(Operation[Order]):
    """The order ends. Unpaid, it ends with the bank's word that nothing can be charged; paid, the warehouse is asked
    first, and then the money goes back in full. What has shipped by then stays sold."""

    name, label, permission = "cancel", "Cancel the order", "shop.cancel_order"
    expected = (NotPossible,)

    def refusal(self, row: Order, *, actor: str) -> str:
        return "" if row.status in CANCELLABLE else f"The order is {row.get_status_display().lower()}."

    def perform(self, row: Order, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        cancel_order(order_id=row.pk, actor=actor, reason=values["reason"])
        return f"{row.number} is being cancelled; it is final when bank and warehouse have answered."


class _Review(Operation[Order]):
    permission = "shop.review_order"
    expected = (NotPossible,)
    accepted: ClassVar[bool]
    said: ClassVar[str]

    def refusal(self, row: Order, *, actor: str) -> str:
        if row.status == Order.Status.UNDER_REVIEW:
            return ""
        return f"The order is {row.get_status_display().lower()}: there is nothing to review."

    def perform(self, row: Order, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        review_order(order_id=row.pk, accepted=self.accepted, actor=actor, reason=values["reason"])
        return f"{row.number} {self.said}"


class Accept(_Review):
    """The order goes on, and its card is charged."""

    name, label, accepted = "accept", "Accept the order", True
    said = "is accepted, and its payment is on its way."


class Reject(_Review):
    """The order ends without a charge, and its goods are free again."""

    name, label, accepted = "reject", "Reject the order", False
    said = "is rejected; nothing will be charged."


register(
    Subject(
        model=Order,
        operations=[Accept(), Reject(), Cancel()],
        lock=locking(Order),
        state=lambda row: row.get_status_display().lower(),
        story=lambda row: row.pk,
        rows=lambda story: Order.objects.filter(pk=story),
    )
)

register(
    Subject(
        model=Screening,
        operations=list(
            claim_operations("shop.review_order", story=lambda row: row.order_id, asks="the screening service")
        ),
        lock=locking(Screening),
        state=claim_state,
        story=lambda row: row.order_id,
        rows=lambda story: Screening.objects.filter(order=int(story)),
    )
)

# --- concerns ---------------------------------------------------------------------------------------


register(
    Subject(
        model=Concern,
        operations=list(question_operations("shop.resolve_concern", story=lambda row: row.order_id)),
        lock=locking(Concern),
        state=questions.state,
        story=lambda row: row.order_id,
        rows=lambda story: Concern.objects.filter(order=int(story)).order_by("id"),
        facts=lambda row: [("Concern", f"{row.kind.replace('_', ' ')} {row.detail}".strip())],
    )
)

# --- stock ------------------------------------------------------------------------------------------


class QuantityForm(ReasonForm):
    quantity = forms.IntegerField(min_value=1, max_value=1_000_000)
    field_order = ("quantity", "reason")


class DifferenceForm(ReasonForm):
    quantity = forms.IntegerField(
        min_value=-1_000_000,
        max_value=1_000_000,
        label="Difference",
        help_text="Counted minus on hand: negative when pieces are missing.",
    )
    field_order = ("quantity", "reason")

    def clean_quantity(self) -> int:
        quantity: int = self.cleaned_data["quantity"]
        if not quantity:
            raise forms.ValidationError("No difference: there is nothing to correct.")
        return quantity


class _Move(Operation[Product]):
    permission = "shop.move_stock"
    expected = (stock.TooFew,)
    kind: ClassVar[StockMovement.Kind]
    asks: ClassVar[type[ReasonForm]] = QuantityForm

    def refusal(self, row: Product, *, actor: str) -> str:
        return ""

    def form(self, row: Product, data: Any = None) -> ReasonForm:
        return self.asks(data)

    def perform(self, row: Product, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        after = stock.move(
            product=row, kind=self.kind, quantity=values["quantity"], actor=actor, reason=values["reason"]
        )
        return f"{row.name}: {after.on_hand} on hand, {after.available} of them free."


class Receive(_Move):
    """New goods have arrived in the warehouse."""

    name, label, kind = "receipt", "Receive goods", StockMovement.Kind.RECEIPT


class Return(_Move):
    """A customer has sent goods back, and they can be sold again."""

    name, label, kind = "return", "Take goods back", StockMovement.Kind.RETURN


class Correct(_Move):
    """Somebody has counted, and the number is not what it should be."""

    name, label, kind, asks = "correction", "Correct after counting", StockMovement.Kind.CORRECTION, DifferenceForm


def _stock_facts(row: Product) -> list[Fact]:
    found = Stock.objects.filter(product=row).first() or Stock(product=row)
    return [
        ("Product", row.name),
        ("Stock", f"{found.on_hand} on hand, {found.reserved} promised, {found.available} free"),
    ]


def _stock_state(row: Product) -> str:
    """Only what people record: orders take and free goods all the time."""
    newest = StockMovement.objects.filter(product=row).exclude(kind=StockMovement.Kind.SHIPMENT).order_by("-id").first()
    return f"{newest}, movement {newest.pk}" if newest else "never received"


register(
    Subject(
        model=Product,
        operations=[Receive(), Return(), Correct()],
        lock=locking(Product),
        state=_stock_state,
        facts=_stock_facts,
    )
)
