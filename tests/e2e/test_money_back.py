"""Money that goes back, at the order's page in Chromium: nothing is called sent before the bank has taken it."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from shop.local.store import LocalStore
from tests.e2e.faults import Faults
from tests.e2e.looks import inspect
from tests.e2e.shopping import SETTLES, cancel, decide, happened, of_order, order, reads_mail, sees

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("problems")]

Wake = Callable[[], None]


def refund(store: LocalStore, page: Page, *, amount: int) -> None:
    """An operator sends `amount` minor units back."""
    (number,) = of_order(store, page, "o.id")
    wanted = f"order_id={number}, amount={amount}, request_token='e2e:{number}:{amount}'"
    because = "reason='a scratch', actor='operator:eve', by_person=True"
    decide(store, f"request_refund({wanted}, {because})", module="payments.refunds")


def test_goods_that_are_not_found_are_paid_back(page: Page, store: LocalStore, faults: Faults) -> None:
    order(page, store)
    sees(page, "Thank you: paid")
    expect(page.get_by_text("We are packing your order")).to_be_visible(timeout=SETTLES)
    faults.add("refunds.create", "drop_before")
    number, name = of_order(store, page, "o.id, p.reference")
    report = f"record_shipment(reference='short-{number}', order_id={number}, kind='short', reported_by='e2e')"
    decide(store, report, module="shop.decisions")
    sees(page, "We could not send this order")
    expect(page.get_by_text("€23.00 goes back to your card")).to_be_visible()
    expect(page.get_by_text("Sent back to your card")).to_have_count(0)
    inspect(page, "order-short")
    says = "Your payment goes back to you; we write again when the bank has sent it."
    reads_mail(page, store, subject=f"Your order {name} is cancelled", says=says)
    faults.clear()
    expect(page.get_by_text("We have sent €23.00 back to your card; your bank")).to_be_visible(timeout=SETTLES)
    expect(page.get_by_text("Sent back to your card")).to_be_visible()
    assert happened(page)[-2:] == ["We could not deliver your order", "We have sent €23.00 back to your card"]
    inspect(page, "order-short-paid-back")
    subject = f"€23.00 of your order {name} is on its way back to you"
    reads_mail(page, store, subject=subject, says="We have sent your payment of €23.00")


def test_a_part_that_is_paid_back_shows_beside_an_order_that_goes_on(
    page: Page, store: LocalStore, awake_warehouse: Wake
) -> None:
    order(page, store)
    awake_warehouse()
    sees(page, "On its way to you")
    refund(store, page, amount=500)
    # Nobody reloads: a parcel that has left does not end the page's interest.
    expect(page.get_by_text("We have sent €5.00 back to your card; your bank")).to_be_visible(timeout=SETTLES)
    sees(page, "On its way to you")
    inspect(page, "order-shipped-part-back")
    (name,) = of_order(store, page, "p.reference")
    subject = f"€5.00 of your order {name} is on its way back to you"
    reads_mail(page, store, subject=subject, says="We have sent €5.00 of the €23.00 you paid")
    refund(store, page, amount=1800)
    expect(page.get_by_text("We have sent €23.00 back to your card; your bank")).to_be_visible(timeout=SETTLES)
    assert happened(page)[-2:] == ["We have sent €5.00 back to your card", "We have sent €18.00 back to your card"]


def test_a_refund_that_comes_back_from_the_card_is_not_called_sent(
    page: Page, store: LocalStore, awake_warehouse: Wake
) -> None:
    order(page, store, card="fails to be refunded")
    sees(page, "Thank you: paid")
    cancel(page)
    awake_warehouse()
    sees(page, "You cancelled this order")
    expect(page.get_by_text("The bank could not put the money on your card")).to_be_visible(timeout=SETTLES)
    expect(page.get_by_text("a person of ours has been told")).to_be_visible()
    expect(page.get_by_text("Sent back to your card")).to_have_count(0)
    assert happened(page)[-2:] == [
        "We have sent €23.00 back to your card",
        "The bank could not put €23.00 on your card",
    ]
    inspect(page, "order-refund-failed")
    (number,) = of_order(store, page, "o.id")
    assert store.query(f"SELECT kind FROM shop_concern WHERE order_id = {number}")  # noqa: S608
