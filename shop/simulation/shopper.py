"""One shopper: looks around, fills a cart, orders, looks at the order. Decides by dice with a seed."""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urljoin, urlsplit

import requests

from shop.simulation.afterwards import see_through
from shop.simulation.browser import TIMEOUT, Browser, Refused, Unanswered
from shop.simulation.pages import Form, Page

# Postal code and town by country, of the form that the country has.
_TOWNS = {
    "AT": ("1010", "Wien"),
    "BE": ("1000", "Brussels"),
    "DE": ("10115", "Berlin"),
    "DK": ("1050", "København"),
    "FR": ("75001", "Paris"),
    "NL": ("1012 AB", "Amsterdam"),
    "SE": ("111 20", "Stockholm"),
}
_FIRST_NAMES = ("Ada", "Björn", "Chloé", "Dagmar", "Emil", "Fatima", "Grażyna", "Hugo", "Ines", "Jörg")
_LAST_NAMES = ("Andersen", "Bakker", "Çelik", "Dubois", "Eriksson", "Fischer", "García", "O’Neill")
_STREETS = ("Harbour Street", "Pine Avenue", "Lindenweg", "Rue des Lilas", "Storgatan")


class Outcome(StrEnum):
    PLACED = "placed"
    SOLD_OUT = "sold out"
    REFUSED = "refused"  # the store said no, and why
    UNANSWERED = "unanswered"  # patience ended first


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a shopper went home with. `seconds` is that of the checkout's answered POST, `retries` counts pages
    that had to be asked for again. `acts` is what the shopper did on the order's page."""

    shopper: int
    outcome: Outcome
    order: str = ""
    seconds: float = 0.0
    retries: int = 0
    detail: str = ""
    acts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """What all shoppers of a run have in common. `cards` are weights by the card's id; `products` are slugs, all
    of the catalogue if empty; `patience` in seconds for one page. `stay`: they see their order through, as
    `shop.simulation.afterwards` says."""

    base_url: str
    seed: int
    cards: Mapping[str, float]
    products: Sequence[str] = ()
    patience: float = 120.0
    stay: bool = False


class Shopper:
    """`number` and the seed decide everything that this shopper chooses."""

    def __init__(self, number: int, *, habits: Habits) -> None:
        self._number = number
        self._habits = habits
        self._dice = random.Random(f"{habits.seed}:{number}")  # noqa: S311 - repeatable on purpose
        self._browser = Browser(base_url=habits.base_url, patience=habits.patience)
        self._seconds = 0.0
        self._acts: list[str] = []

    def visit(self) -> Visit:
        """The whole visit. Never raises for what the site does."""
        order, detail = "", ""
        try:
            with self._browser.session:
                outcome, order, detail = self._shop()
        except Refused as refused:
            outcome, detail = Outcome.REFUSED, str(refused)
        except Unanswered as unanswered:
            outcome, detail = Outcome.UNANSWERED, str(unanswered)
        return Visit(
            shopper=self._number,
            outcome=outcome,
            order=order,
            seconds=self._seconds,
            retries=self._browser.retries,
            detail=detail,
            acts=tuple(self._acts),
        )

    def _shop(self) -> tuple[Outcome, str, str]:
        """The outcome, the order's address, and the store's words."""
        in_cart = [self._put_into_cart(path) for path in self._choose()]
        if not any(in_cart):
            return Outcome.SOLD_OUT, "", "nothing left to put into the cart"
        page = self._browser.get("/checkout/")
        form = page.form_with("checkout_token")
        if form is None:
            raise Refused(f"no checkout form: {_said(page)}")
        answer = self._order(form)
        if not answer.is_redirect:
            raise Refused(f"HTTP {answer.status_code}: {_said(Page.read(answer.text))}")
        place = urlsplit(urljoin(self._browser.url, answer.headers["Location"])).path
        shown = self._browser.get(place)
        if place.startswith("/orders/"):
            if self._habits.stay:
                see_through(shown, place, browser=self._browser, dice=self._dice, acts=self._acts)
            return Outcome.PLACED, place, ""
        return Outcome.SOLD_OUT, "", _said(shown)

    def _choose(self) -> list[str]:
        """One to three products, by their addresses."""
        offered = sorted({link for link in self._browser.get("/").links if link.startswith("/products/")})
        if self._habits.products:
            offered = [f"/products/{slug}/" for slug in self._habits.products]
        return self._dice.sample(offered, k=min(len(offered), self._dice.choice((1, 1, 2, 3))))

    def _put_into_cart(self, path: str) -> bool:
        """False for what is sold out."""
        form = self._browser.get(path).form_with("quantity")
        if form is None:
            return False
        offered = [int(each) for each in form.choices("quantity") if each.isdecimal()]
        quantity = self._dice.randint(1, min(2, max(offered, default=2)))
        data = form.filled({"quantity": str(quantity)})

        def put(*, again: bool) -> requests.Response:
            if again:  # adding twice would be two: after a lost answer, people look into their cart first
                cart = self._browser.session.get(self._browser.address("/cart/"), timeout=TIMEOUT)
                if not cart.ok or any(
                    data["product"] in each.choices("product") for each in Page.read(cart.text).forms
                ):
                    return cart
            return self._browser.post(form, data)

        self._browser.patiently(put)
        return True

    def _order(self, form: Form) -> requests.Response:
        """Send the form until it is answered: always the same, with the same token, so it is one order."""
        cards = self._habits.cards
        card = self._dice.choices(list(cards), weights=list(cards.values()))[0]
        if card not in form.choices("payment_method"):
            raise Refused(f"the page does not offer the card {card}")
        country = self._dice.choice([each for each in form.choices("country") if each in _TOWNS] or [""])
        postal_code, city = _TOWNS.get(country, ("", ""))
        data = form.filled(
            {
                "name": f"{self._dice.choice(_FIRST_NAMES)} {self._dice.choice(_LAST_NAMES)}",
                "email": f"shopper-{self._habits.seed}-{self._number}@customers.example",
                "address": f"{self._dice.choice(_STREETS)} {self._dice.randint(1, 99)}",
                "postal_code": postal_code,
                "city": city,
                "country": country,
                "shipping": self._dice.choice(form.choices("shipping") or [""]),
                "payment_method": card,
            }
        )

        def send(*, again: bool) -> requests.Response:
            begun = time.monotonic()
            answer = self._browser.post(form, data)
            self._seconds = time.monotonic() - begun
            return answer

        return self._browser.patiently(send)


def _said(page: Page) -> str:
    return " ".join(page.alerts)
