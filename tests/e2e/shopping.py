"""What shoppers do at the pages."""

import itertools
import re

from playwright.sync_api import Page, expect

from shop.local.store import LocalStore

# Milliseconds until a worker, the bank and the page's polling have done their part; a busy machine needs most.
SETTLES = 20_000

_shoppers = itertools.count(1)


def put(page: Page, store: LocalStore, slug: str, *, quantity: int = 1) -> None:
    page.goto(f"{store.address}/products/{slug}/")
    page.get_by_label("Quantity").select_option(str(quantity))
    page.get_by_role("button", name="Put into the cart").click()


def fill(page: Page, *, name: str = "Ada Lovelace", number: int | None = None) -> None:
    """Everybody is somebody else, unless `number` says who: many orders of one person would wait for an operator."""
    number = number or next(_shoppers)
    page.get_by_label("Email").fill(f"shopper-{number}@example.org")
    page.get_by_label("Full name").fill(name)
    page.get_by_label("Street and number").fill(f"Am Sandtorkai {number}")
    page.get_by_label("Postal code").fill("20457")
    page.get_by_label("Town or city").fill("Hamburg")
    page.get_by_label("Country").select_option("DE")


def choose_card(page: Page, behaviour: str) -> None:
    """One of the test cards that the bank's own frame offers."""
    page.frame_locator("[data-card-mount] iframe").get_by_role("button", name=behaviour, exact=True).click()


def ready_to_pay(
    page: Page, store: LocalStore, *, slug: str = "enamel-mug", quantity: int = 1, card: str = "succeeds"
) -> None:
    put(page, store, slug, quantity=quantity)
    page.goto(f"{store.address}/checkout/")
    fill(page)
    choose_card(page, card)


def pay(page: Page) -> None:
    page.get_by_role("button", name=re.compile("^Order and pay")).click()


def order(page: Page, store: LocalStore, *, slug: str = "enamel-mug", quantity: int = 1, card: str = "succeeds") -> str:
    """From the shelf to the order's page; its address."""
    ready_to_pay(page, store, slug=slug, quantity=quantity, card=card)
    pay(page)
    expect(page).to_have_url(re.compile("/orders/"))
    return page.url


def sees(page: Page, headline: str) -> None:
    """The page says so at its top, as soon as everybody has done their part."""
    expect(page.get_by_role("heading", level=1)).to_have_text(headline, timeout=SETTLES)


def cancel(page: Page) -> None:
    page.get_by_text("Cancel this order").click()
    page.get_by_role("button", name=re.compile("^Yes, cancel order")).click()
