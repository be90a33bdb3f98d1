"""Every way an order can go, at its page in Chromium: on the real store, with bank, mailbox and warehouse."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from shop.local.store import LocalStore
from tests.e2e.faults import Faults
from tests.e2e.looks import inspect
from tests.e2e.shopping import (
    SETTLES,
    cancel,
    choose_card,
    decide,
    fill,
    happened,
    of_order,
    order,
    pay,
    put,
    reads_mail,
    sees,
)

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("problems")]

CLEAN = re.compile(r"/orders/[\w-]+/$")
Wake = Callable[[], None]


def confirm_at_bank(page: Page, answer: str) -> None:
    sees(page, "Please confirm your payment")
    page.get_by_role("link", name="Confirm at your bank").click()
    page.get_by_role("button", name=answer).click()
    expect(page).to_have_url(CLEAN)


# --- cards ----------------------------------------------------------------------------------------


def test_a_decline_is_said_with_its_reason_and_another_card_pays(page: Page, store: LocalStore) -> None:
    order(page, store, card="lacks funds")
    sees(page, "Your card was declined")
    expect(page.get_by_text("does not hold enough money")).to_be_visible()
    expect(page.get_by_text("Nothing was charged.")).to_be_visible()
    expect(page.get_by_role("heading", name="Another card")).to_be_visible(timeout=SETTLES)
    inspect(page, "order-declined")
    choose_card(page, "succeeds")
    page.get_by_role("button", name="Pay €23.00").click()
    sees(page, "Thank you: paid")
    expect(page.get_by_role("heading", name="Another card")).to_have_count(0)
    expect(page.locator(".timeline__what").last).to_have_text("Your order is confirmed", timeout=SETTLES)
    assert happened(page) == [
        "We have your order",
        "Your card was declined",
        "Your payment has arrived",
        "Your order is confirmed",
    ]
    inspect(page, "order-paid")


def test_confirmed_at_the_bank_pays(page: Page, store: LocalStore) -> None:
    order(page, store, card="needs 3-D Secure")
    sees(page, "Please confirm your payment")
    expect(page.get_by_text("Your goods are reserved until")).to_be_visible(timeout=SETTLES)
    inspect(page, "order-confirm")
    confirm_at_bank(page, "Approve")
    sees(page, "Thank you: paid")
    page.get_by_text("Cancel this order").click()
    expect(page.get_by_role("button", name=re.compile("^Yes, cancel order"))).to_be_visible()
    inspect(page, "order-cancel-form")


def test_refused_at_the_bank_takes_another_card(page: Page, store: LocalStore) -> None:
    order(page, store, card="needs 3-D Secure")
    confirm_at_bank(page, "Reject")
    sees(page, "Your card was declined")
    expect(page.get_by_text("was not confirmed with the card's bank")).to_be_visible()
    expect(page.get_by_role("heading", name="Another card")).to_be_visible(timeout=SETTLES)
    choose_card(page, "succeeds")
    page.get_by_role("button", name="Pay €23.00").click()
    sees(page, "Thank you: paid")


def test_who_walks_away_from_the_bank_owes_nothing_when_the_hold_ends(page: Page, store: LocalStore) -> None:
    address = order(page, store, card="needs 3-D Secure")
    sees(page, "Please confirm your payment")
    page.get_by_role("link", name="Confirm at your bank").click()
    page.get_by_role("link", name="Walk away without answering").click()
    page.goto(address)
    expect(page.get_by_text("Your goods are reserved until")).to_be_visible(timeout=SETTLES)
    (number,) = of_order(store, page, "o.id")
    moved = store.query(f"UPDATE shop_order SET hold_until = now() WHERE id = {number} RETURNING status")  # noqa: S608
    assert moved == [("action_required",)]
    sees(page, "The time to pay has run out")
    expect(page.get_by_text("The goods went back on the shelf")).to_be_visible(timeout=SETTLES)
    inspect(page, "order-expired")
    assert of_order(store, page, "o.status, p.status") == ("payment_failed", "canceled")


def test_an_unknown_outcome_is_called_so_until_the_bank_answers(page: Page, store: LocalStore, faults: Faults) -> None:
    faults.add("payment_intents.confirm", "drop_after")
    faults.add("payment_intents.retrieve", "drop_before")
    faults.add("webhook.stripe", "drop")
    order(page, store)
    sees(page, "We are confirming your payment")
    expect(page.get_by_text("please do not pay again")).to_be_visible()
    assert of_order(store, page, "p.status") == ("unknown",)
    inspect(page, "order-unknown")
    faults.clear()
    sees(page, "Thank you: paid")


# --- cancelled by the shopper ---------------------------------------------------------------------


def test_cancelled_before_the_money_ends_with_the_banks_word(page: Page, store: LocalStore, faults: Faults) -> None:
    order(page, store, card="needs 3-D Secure")
    sees(page, "Please confirm your payment")
    faults.add("payment_intents.cancel", "drop_before")
    cancel(page)
    sees(page, "This order is being cancelled")
    expect(page.get_by_text("We are asking the bank")).to_be_visible()
    inspect(page, "order-cancelling")
    faults.clear()
    sees(page, "You cancelled this order")
    expect(page.get_by_text("Nothing was charged.")).to_be_visible()
    expect(page.get_by_text("Cancel this order")).to_have_count(0)


def test_cancelled_after_the_money_ends_with_the_warehouses_word(
    page: Page, store: LocalStore, awake_warehouse: Wake
) -> None:
    order(page, store)
    sees(page, "Thank you: paid")
    expect(page.get_by_text("We are packing your order")).to_be_visible(timeout=SETTLES)
    cancel(page)
    sees(page, "This order is being cancelled")
    expect(page.get_by_text("We are asking the warehouse")).to_be_visible()
    inspect(page, "order-cancelling-paid")
    awake_warehouse()
    sees(page, "You cancelled this order")
    expect(page.get_by_text("We have sent €23.00 back to your card; your bank")).to_be_visible(timeout=SETTLES)
    assert happened(page)[-3:] == [
        "You asked us to cancel your order",
        "Your order was cancelled",
        "We have sent €23.00 back to your card",
    ]
    inspect(page, "order-cancelled")


def test_too_late_to_cancel_is_said_kindly(page: Page, nojs: Page, store: LocalStore, awake_warehouse: Wake) -> None:
    put(nojs, store, "linen-apron")
    nojs.goto(f"{store.address}/checkout/")
    fill(nojs)
    pay(nojs)
    expect(nojs.get_by_text("We are packing your order")).to_be_visible(timeout=SETTLES)  # it stays for 30 s
    awake_warehouse()
    page.goto(nojs.url)
    sees(page, "On its way to you")
    cancel(nojs)
    expect(nojs.get_by_text("This order can no longer be cancelled")).to_be_visible()
    sees(nojs, "On its way to you")


# --- other ends -----------------------------------------------------------------------------------


def test_a_large_order_waits_uncharged_until_a_person_accepts_it(page: Page, store: LocalStore) -> None:
    order(page, store, slug="ridge-tent", quantity=7)
    sees(page, "We are checking your order")
    expect(page.get_by_text("before anything is charged")).to_be_visible()
    assert of_order(store, page, "p.status, p.attempts") == ("unprocessed", 0)
    inspect(page, "order-checking")
    (number,) = of_order(store, page, "o.id")
    answer = f"review_order(order_id={number}, accepted=True, actor='operator:eve', reason='known to us')"
    decide(store, answer, module="shop.decisions")
    sees(page, "Thank you: paid")


def test_a_large_order_that_a_person_rejects_costs_nothing(page: Page, store: LocalStore) -> None:
    order(page, store, slug="ridge-tent", quantity=7)
    sees(page, "We are checking your order")
    (number,) = of_order(store, page, "o.id")
    answer = f"review_order(order_id={number}, accepted=False, actor='operator:eve', reason='a stolen card')"
    decide(store, answer, module="shop.decisions")
    sees(page, "We could not accept this order")
    expect(page.get_by_text("Nothing was charged.")).to_be_visible()
    expect(page.get_by_text("stolen")).to_have_count(0)
    inspect(page, "order-rejected")
    # The bank was never asked for anything.
    assert of_order(store, page, "o.status, p.status, p.attempts, p.intent_id") == ("cancelled", "canceled", 0, "")
    (name,) = of_order(store, page, "p.reference")
    reads_mail(page, store, subject=f"Your order {name} is cancelled", says="You have not been charged.")


def test_a_parcel_on_its_way_shows_its_tracking(page: Page, store: LocalStore, awake_warehouse: Wake) -> None:
    order(page, store)
    awake_warehouse()
    sees(page, "On its way to you")
    expect(page.get_by_text(re.compile(r"parcel \w+\d"))).to_be_visible()
    inspect(page, "order-shipped")
    expect(page.get_by_text("Cancel this order")).to_have_count(0)
    assert happened(page)[-1] == "Your order is on its way"


def test_a_disputed_payment_keeps_the_parcel_here(page: Page, store: LocalStore) -> None:
    order(page, store, card="is disputed")
    sees(page, "Your bank has a question")
    expect(page.get_by_text("we keep your parcel here")).to_be_visible()
    inspect(page, "order-disputed")


def test_too_many_cards_are_stopped_with_a_kind_page(page: Page, store: LocalStore, problems: list[str]) -> None:
    order(page, store, card="is declined")
    sees(page, "Your card was declined")
    expect(page.get_by_role("heading", name="Another card")).to_be_visible(timeout=SETTLES)
    store.query("UPDATE shop_trycount SET tries = 1000 WHERE source LIKE 'session:%' RETURNING 1")
    choose_card(page, "succeeds")
    page.get_by_role("button", name="Pay €23.00").click()
    sees(page, "Let us slow down a little")
    assert of_order(store, page, "o.status, p.card_no") == ("payment_declined", 1)
    inspect(page, "error-429-order")
    page.get_by_role("link", name="Back to your order").click()
    sees(page, "Your card was declined")
    problems.clear()  # the browser reports the 429
