"""Every page outside an order, for everybody: no colour, size or screen reader is left out.

The order's page is looked at where it is in a state (test_order_paths.py).
"""

import os
from collections.abc import Callable, Iterator

import psycopg
import pytest
from playwright.sync_api import Page, expect
from psycopg import sql

from shop.local.store import LocalStore
from tests.e2e.looks import inspect
from tests.e2e.shopping import fill, pay, put, ready_to_pay, sees

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("problems")]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("catalogue", "/"),
        ("category", "/?category=Wear"),
        ("product", "/products/ridge-tent/"),
        ("cart-empty", "/cart/"),
    ],
)
def test_what_a_visitor_sees_first(page: Page, store: LocalStore, name: str, path: str) -> None:
    page.goto(store.address + path)
    inspect(page, name)


def test_a_cart_and_a_checkout_to_fill(page: Page, store: LocalStore) -> None:
    put(page, store, "storm-lantern", quantity=2)
    put(page, store, "wool-blanket")
    inspect(page, "cart")
    page.get_by_role("link", name="To the checkout").click()
    expect(page.locator("[data-card-mount] iframe")).to_be_visible()
    inspect(page, "checkout")


def test_a_checkout_with_mistakes(page: Page, store: LocalStore, problems: list[str]) -> None:
    ready_to_pay(page, store)
    page.get_by_label("Email").fill("ada@example")
    page.get_by_label("Postal code").fill("")
    page.evaluate("document.querySelector('[data-checkout]').noValidate = true")
    pay(page)
    expect(page.locator("#errors")).to_be_focused()
    inspect(page, "checkout-mistakes")
    problems.clear()  # the browser reports the form's 422


def test_the_test_cards_of_a_checkout_without_scripts(page: Page, store: LocalStore) -> None:
    put(page, store, "enamel-mug")
    page.goto(f"{store.address}/checkout/")
    # axe-core is a script itself: what a browser without any shows is unfolded for it.
    page.evaluate("for (const each of document.querySelectorAll('noscript')) each.outerHTML = each.textContent")
    expect(page.get_by_role("group", name="Test card")).to_be_visible()
    inspect(page, "checkout-no-scripts")


def test_nothing_at_this_address(page: Page, store: LocalStore, problems: list[str]) -> None:
    page.goto(f"{store.address}/nowhere/")
    sees(page, "Nothing at this address")
    inspect(page, "error-404")
    problems.clear()  # the browser reports the 404


def test_an_expired_form(page: Page, store: LocalStore, problems: list[str]) -> None:
    put(page, store, "enamel-mug")
    page.context.clear_cookies()
    page.get_by_role("button", name="Remove Enamel mug").click()
    sees(page, "This form has expired")
    inspect(page, "error-403")
    problems.clear()  # the browser reports the 403


def test_too_many_tries(page: Page, store: LocalStore, problems: list[str]) -> None:
    ready_to_pay(page, store, card="is declined")
    pay(page)
    sees(page, "Your card was declined")
    store.query("UPDATE shop_trycount SET tries = 1000 WHERE source LIKE 'session:%' RETURNING 1")
    put(page, store, "enamel-mug")
    page.goto(f"{store.address}/checkout/")
    fill(page)
    page.frame_locator("[data-card-mount] iframe").get_by_role("button", name="succeeds", exact=True).click()
    pay(page)
    sees(page, "Let us slow down a little")
    inspect(page, "error-429")
    page.get_by_role("link", name="To your cart").click()
    sees(page, "Your cart")
    problems.clear()  # the browser reports the 429


@pytest.fixture
def outage(store: LocalStore) -> Iterator[Callable[[], None]]:
    """Call it to take the store's database away until the test ends."""
    ((name,),) = store.query("SELECT current_database()")
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as session:

        def allow(allowed: bool) -> None:
            session.execute(
                sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(sql.Identifier(name), sql.Literal(allowed))
            )

        def cut() -> None:
            allow(False)
            session.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

        yield cut
        allow(True)


def test_a_store_without_its_database(
    page: Page, store: LocalStore, outage: Callable[[], None], problems: list[str]
) -> None:
    put(page, store, "enamel-mug")
    outage()
    page.goto(f"{store.address}/cart/")
    sees(page, "We will be right back")
    inspect(page, "error-503")
    problems.clear()  # the browser reports the 503
