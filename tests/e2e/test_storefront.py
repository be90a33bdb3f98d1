"""A shopper's way through the real store in Chromium: catalogue, cart, card field, order page, mail."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from shop.local.store import OPERATOR, LocalStore
from tests.e2e.looks import inspect
from tests.e2e.shopping import SETTLES, choose_card, fill, pay, put, ready_to_pay, sees

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("problems")]

PHONE = {"width": 390, "height": 844}


def test_from_the_catalogue_to_paid_and_the_mail(page: Page, store: LocalStore) -> None:
    page.goto(store.address)
    page.get_by_role("link", name="Trail", exact=True).click()
    page.get_by_role("link", name=re.compile("Brass compass")).click()
    page.get_by_label("Quantity").select_option("2")
    page.get_by_role("button", name="Put into the cart").click()
    quantity = page.get_by_label("Brass compass: Quantity")
    quantity.fill("3")
    quantity.press("Tab")
    expect(page.locator(".line__amount")).to_have_text("€108.00")
    page.get_by_role("link", name="To the checkout").click()
    fill(page)
    page.get_by_text("Express").click()
    choose_card(page, "succeeds")
    button = page.get_by_role("button", name="Order and pay €120.00")
    button.click()
    expect(page).to_have_url(re.compile("/orders/"))
    sees(page, "Thank you: paid")
    expect(page.get_by_text("Ada Lovelace")).to_be_visible()
    expect(page.get_by_role("link", name="Cart")).to_have_text("Cart")

    number = re.search(r"O-\d{6}", page.locator(".eyebrow").inner_text())
    assert number
    paid = store.query(f"SELECT status, amount FROM payments_payment WHERE reference = '{number[0]}'")  # noqa: S608
    assert paid == [("succeeded", 12000)]
    mailbox = page.context.new_page()
    mailbox.goto(f"{store.sandbox_address}/mailbox/")
    expect(mailbox.get_by_text(number[0]).first).to_be_visible()


def test_the_whole_way_without_scripts(nojs: Page, store: LocalStore) -> None:
    put(nojs, store, "wool-blanket")
    nojs.get_by_role("spinbutton").fill("2")
    nojs.get_by_role("button", name="Change").click()
    nojs.get_by_role("link", name="To the checkout").click()
    fill(nojs)
    nojs.get_by_label("Pick-up").check()
    nojs.get_by_label(re.compile("^Mastercard")).check()
    pay(nojs)
    expect(nojs).to_have_url(re.compile("/orders/"))
    sees(nojs, "Thank you: paid")
    expect(nojs.get_by_text("€258.00").first).to_be_visible()


def test_a_second_click_and_a_second_tab_lead_to_the_same_order(page: Page, store: LocalStore) -> None:
    put(page, store, "enamel-mug")
    tab = page.context.new_page()
    for each, card in ((page, "succeeds"), (tab, "is declined")):
        each.goto(f"{store.address}/checkout/")
        fill(each, number=9999)
        choose_card(each, card)
    page.get_by_role("button", name=re.compile("^Order and pay")).dblclick()
    expect(page).to_have_url(re.compile("/orders/"))
    pay(tab)
    expect(tab).to_have_url(page.url)
    sees(tab, "Thank you: paid")


def test_the_last_piece_goes_to_one_and_the_other_is_told_at_once(browser: Browser, store: LocalStore) -> None:
    contexts = [browser.new_context(), browser.new_context()]
    faster, slower = (context.new_page() for context in contexts)
    for page in (faster, slower):
        ready_to_pay(page, store, slug="ships-clock")
    pay(faster)
    expect(faster).to_have_url(re.compile("/orders/"))
    pay(slower)
    expect(slower).to_have_url(re.compile("/cart/$"))
    expect(slower.get_by_role("alert")).to_have_text("Ship's clock has just been sold out.")
    expect(slower.get_by_text("Sold out: please remove it.")).to_be_visible()
    expect(slower.get_by_role("link", name="To the checkout")).to_have_count(0)
    inspect(slower, "cart-sold-out")
    ((token,),) = store.query("SELECT token FROM shop_order WHERE jsonb_exists(process, 'unavailable')")
    slower.goto(f"{store.address}/orders/{token}/")
    sees(slower, "Sold out")
    expect(slower.get_by_text("Not enough left")).to_be_visible()
    inspect(slower, "order-sold-out")
    for context in contexts:
        context.close()


def test_mistakes_are_listed_linked_and_cost_nothing_that_was_typed(
    page: Page, store: LocalStore, problems: list[str]
) -> None:
    ready_to_pay(page, store)
    page.get_by_label("Email").fill("ada@example")
    page.evaluate("document.querySelector('[data-checkout]').noValidate = true")
    page.get_by_text("Express").click()
    pay(page)
    summary = page.locator("#errors")
    expect(summary).to_be_focused()
    summary.get_by_role("link", name="Email").click()
    email = page.get_by_label("Email")
    expect(email).to_be_focused()
    expect(email).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Full name")).to_have_value("Ada Lovelace")
    expect(page.get_by_label("Express")).to_be_checked()
    expect(page.get_by_text("Your card from before is kept.")).to_be_visible()
    email.fill("ada@example.org")
    pay(page)
    expect(page).to_have_url(re.compile("/orders/"))
    problems.clear()  # the browser reports the form's 422


def test_a_card_field_that_does_not_load_says_so(page: Page, store: LocalStore, problems: list[str]) -> None:
    page.route(f"{store.sandbox_address}/**", lambda route: route.abort())
    put(page, store, "enamel-mug")
    page.goto(f"{store.address}/checkout/")
    expect(page.get_by_text("The card field could not be loaded.")).to_be_visible()
    fill(page)
    pay(page)
    expect(page).to_have_url(re.compile("/checkout/"))
    problems.clear()


def test_an_order_page_that_cannot_reach_the_store_says_so_and_recovers(
    page: Page, store: LocalStore, problems: list[str]
) -> None:
    ready_to_pay(page, store, card="is declined")
    pay(page)
    expect(page).to_have_url(re.compile("/orders/"))

    def cut(route: Route) -> None:
        route.abort()

    page.route("**/orders/**", cut)
    hint = page.get_by_text("This page cannot reach the store at the moment.")
    expect(hint).to_be_visible()
    page.unroute("**/orders/**", cut)
    expect(hint).to_be_hidden(timeout=SETTLES)
    sees(page, "Your card was declined")
    problems.clear()


def every_page(page: Page, store: LocalStore) -> Iterator[str]:
    """One after another: every kind of page, with something on it."""
    for path in ("/", "/?category=Wear", "/products/ridge-tent/", "/nowhere/"):
        page.goto(store.address + path)
        yield path
    ready_to_pay(page, store)
    yield "/checkout/"
    page.goto(f"{store.address}/cart/")
    yield "/cart/"
    page.goto(f"{store.address}/checkout/")
    fill(page, name="Wolfeschlegelsteinhausenbergerdorff-" * 3)
    choose_card(page, "needs 3-D Secure")
    pay(page)
    sees(page, "Please confirm your payment")
    yield "/orders/"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_a_phone(browser: Browser, store: LocalStore, scheme: str) -> None:
    context: BrowserContext = browser.new_context(
        viewport=PHONE,  # type: ignore[arg-type]
        is_mobile=True,
        has_touch=True,
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    for path in every_page(page, store):
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], path
    context.close()


def test_keyboards_reach_the_content_first(page: Page, store: LocalStore) -> None:
    page.goto(store.address)
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_the_admin_works_under_the_strict_policy(page: Page, store: LocalStore) -> None:
    page.goto(f"{store.address}/admin/")
    page.get_by_label("Username").fill(OPERATOR)
    page.get_by_label("Password").fill(store.logins[OPERATOR])
    page.get_by_role("button", name="Log in").click()
    for model in ("shop/order", "payments/payment", "outbox/event", "shop/product"):
        page.goto(f"{store.address}/admin/{model}/")
        expect(page.locator("#changelist")).to_be_visible()
    page.goto(f"{store.address}/admin/shop/stock/")  # a ledger, as nearly all are
    page.locator("#result_list tbody th a").first.click()
    expect(page.locator(".submit-row .default")).to_have_count(0)
