"""An order ends after people have asked for refunds of their own: exactly what was paid goes back."""

import contextlib
import itertools
from functools import partial

import pytest

from outbox.models import Decision
from payments import refunds
from payments.models import Refund
from shop.decisions import cancel_order, record_shipment
from shop.models import Order
from tests.integration.orders import SHIPPING, offer
from tests.integration.picking import accepted, status
from tests.threads import together

pytestmark = pytest.mark.django_db(transaction=True)

_references = itertools.count(1)
# Minor units: above what one person may send back alone.
PRICE = 50_000
PAID = PRICE + SHIPPING


@pytest.fixture
def order() -> int:
    (order_id,) = accepted(offer(price=PRICE))
    return order_id


def ask(order_id: int, amount: int | None) -> Refund:
    return refunds.request_refund(
        order_id=order_id,
        amount=amount,
        reason="scratched",
        request_token=f"t{next(_references)}",
        actor="operator:olga",
        by_person=True,
    )


def approve(refund: Refund) -> None:
    refunds.decide(refund_id=refund.pk, approve=True, actor="operator:boss", reason="fine")


def answer(order_id: int, kind: str) -> None:
    record_shipment(reference=f"w{next(_references)}", order_id=order_id, kind=kind, reported_by="test")


def cancel(order_id: int) -> None:
    cancel_order(order_id=order_id, actor="operator:olga", reason="asked for")


def going_back(order_id: int) -> list[tuple[str, int]]:
    rows = Refund.objects.filter(payment__order_id=order_id, status__in=Refund.COUNTED)
    return list(rows.order_by("id").values_list("requested_by", "amount"))


def test_all_of_it_was_refunded_before_the_warehouse_gives_up(order: int) -> None:
    approve(ask(order, None))
    answer(order, "short")
    assert status(order) == "fulfillment_failed"
    assert going_back(order) == [("operator:olga", PAID)]


def test_all_of_it_was_refunded_before_the_order_is_cancelled(order: int) -> None:
    approve(ask(order, None))
    cancel(order)
    answer(order, "withdrawn")
    assert status(order) == "cancelled"
    assert going_back(order) == [("operator:olga", PAID)]


def test_a_part_was_refunded_and_the_rest_follows(order: int) -> None:
    ask(order, 700)
    cancel(order)
    answer(order, "withdrawn")
    assert going_back(order) == [("operator:olga", 700), ("system", PAID - 700)]


@pytest.mark.parametrize("kind", ["short", "withdrawn"])
def test_what_waits_for_approval_keeps_nothing_back(order: int, kind: str) -> None:
    waiting = ask(order, 20_000)
    assert waiting.status == "awaiting_approval"
    if kind == "withdrawn":
        cancel(order)
    answer(order, kind)
    assert going_back(order) == [("system", PAID)]
    waiting.refresh_from_db()
    assert (waiting.status, waiting.approved_by) == ("canceled", "system")
    decision = Decision.objects.get(kind="overtake")
    assert (decision.aggregateid, decision.subject_id, decision.actor) == (str(order), str(waiting.pk), "system")
    with pytest.raises(refunds.NotAwaitingApproval):
        approve(waiting)


def test_approved_at_the_moment_in_which_the_order_ends() -> None:
    for order_id in accepted(offer(price=PRICE), orders=8):
        waiting = ask(order_id, 20_000)
        cancel(order_id)
        together(partial(answer, order_id, "withdrawn"), partial(_approve_if_it_waits, waiting))
        assert sum(amount for _, amount in going_back(order_id)) == PAID
        assert Order.objects.get(pk=order_id).status == "cancelled"


def _approve_if_it_waits(refund: Refund) -> None:
    with contextlib.suppress(refunds.NotAwaitingApproval):
        approve(refund)
