"""A shopper at the real pages: fills forms as they stand there, CSRF checked as in life."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpResponse
from django.test import Client

from shop.models import Product
from shop.simulation.pages import Form, Page

ANSWERS = {
    "name": "Ada Lovelace",
    "email": "ada@example.org",
    "address": "Am Sandtorkai 1",
    "postal_code": "20457",
    "city": "Hamburg",
    "country": "DE",
    "payment_method": "pm_card_visa",
}


def client(**options: Any) -> Client:
    return Client(enforce_csrf_checks=True, **options)


def read(response: HttpResponse) -> Page:
    return Page.read(response.content.decode())


class Shopper:
    """One browser, one session."""

    def __init__(self) -> None:
        self.client = client()

    def get(self, path: str, **options: Any) -> HttpResponse:
        response: Any = self.client.get(path, **options)
        return response  # type: ignore[no-any-return]

    def post(self, path: str, data: Mapping[str, str]) -> HttpResponse:
        response: Any = self.client.post(path, dict(data))
        return response  # type: ignore[no-any-return]

    def put(self, product: Product, quantity: int = 1) -> None:
        """Into the cart, through the product's page."""
        form = read(self.get(product.get_absolute_url())).form_with("quantity")
        assert form is not None
        self.post(form.action, form.filled({"quantity": str(quantity)}))

    def change(self, product: Product, /, **answers: str) -> HttpResponse:
        """A line of the cart, with whatever is in the form's fields."""
        forms = read(self.get("/cart/")).forms
        form = next(form for form in forms if form.choices("product") == [str(product.pk)])
        return self.post("/cart/", {**form.filled({}), **answers})

    def filled(self, **answers: str) -> dict[str, str]:
        """The checkout's form as a browser would send it now."""
        return checkout_form(self.get("/checkout/")).filled({**ANSWERS, **answers})

    def send(self, data: Mapping[str, str]) -> HttpResponse:
        return self.post("/checkout/", data)

    def order(self, *products: Product, **answers: str) -> str:
        """The address of the order's page."""
        for product in products:
            self.put(product)
        response = self.send(self.filled(**answers))
        assert response.status_code == 302, read(response).alerts
        return response["Location"]

    def twin(self) -> "Shopper":
        """The same browser once more, for a second request at the same time."""
        twin = Shopper()
        twin.client.cookies = self.client.cookies
        return twin


def checkout_form(response: HttpResponse) -> Form:
    form = read(response).form_with("checkout_token")
    assert form is not None, "no checkout form on the page"
    return form
