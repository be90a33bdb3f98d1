"""What shoppers do at the pages and read in their mail, and what the store knows of it."""

import itertools
import re
import time

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


def of_order(store: LocalStore, page: Page, columns: str) -> tuple[object, ...]:
    """Columns of the order `o` at whose page we are, and of its payment `p`."""
    token = page.url.rstrip("/").rpartition("/")[2]
    (found,) = store.query(
        f"SELECT {columns} FROM shop_order o LEFT JOIN payments_payment p ON p.order_id = o.id "  # noqa: S608
        f"WHERE o.token = '{token}'"
    )
    return found


def happened(page: Page) -> list[str]:
    """What the order's page tells of its past."""
    return page.locator(".timeline__what").all_inner_texts()


def decide(store: LocalStore, call: str, *, module: str) -> None:
    """Somebody at the store calls a function of `module` for the order."""
    assert store.manage("shell", "-v", "0", "-c", f"import {module} as m; m.{call}") == 0


def reads_mail(page: Page, store: LocalStore, *, subject: str, says: str) -> None:
    """The shopper at the order's page gets a mail."""
    (recipient,) = of_order(store, page, "o.email")
    mailbox = page.context.new_page()
    found = mailbox.get_by_role("link", name=subject)
    deadline = time.monotonic() + SETTLES / 1000
    while not found.count():
        assert time.monotonic() < deadline, f"no mail: {subject}"
        mailbox.goto(f"{store.sandbox_address}/mailbox/?to={recipient}")
    found.first.click()
    mailbox.get_by_role("link", name="Plain text").click()
    expect(mailbox.get_by_text(says).first).to_be_visible()
    mailbox.close()
