"""A shopper at the WSGI application itself: every layer of the store answers, from middleware to templates, and no
socket and no web server is between."""

import io
import random
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode, urlsplit

from shop.simulation.pages import Form, Page

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

HOST, PORT = "127.0.0.1", "8000"
# What a shopper does, in this order: the pages that are measured.
SIMPLE, STORES, FRONT, PRODUCT, ADD, CART, CHECKOUT, ORDER, PLACED, AGAIN = (
    "a view of the same base",
    "the same with the store's sessions",
    "front page",
    "product page",
    "cart, POST",
    "cart page",
    "checkout page",
    "checkout, POST",
    "order page",
    "order page, unchanged",
)


# Shoppers who go the whole way before anything is measured: what a process does once in its life is done.
WARM = 2


class WrongPage(Exception):
    """The store answered with something else than what was to be measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    text: str


# Makes the request that it is given, and returns the answer's content: the part of a step that is measured.
Request = Callable[[Callable[[], bytes]], bytes]


class Visitor:
    """One browser: it keeps its cookies, and sends them with each request."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._cookies: dict[str, str] = {}

    def ask(self, request: Request, path: str, data: Mapping[str, str] | None = None, *, tag: str = "") -> Reply:
        """A GET, or a POST of these fields; `tag`: only if the page is another one by now. What a browser does itself,
        as to write the form and to read cookies, is not part of `request`."""
        body = urlencode(data).encode() if data is not None else b""
        target = urlsplit(path)
        environ = {
            "REQUEST_METHOD": "GET" if data is None else "POST",
            "SCRIPT_NAME": "",
            "PATH_INFO": target.path,
            "QUERY_STRING": target.query,
            "SERVER_NAME": HOST,
            "SERVER_PORT": PORT,
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": HOST,
            "HTTP_HOST": f"{HOST}:{PORT}",
            "HTTP_COOKIE": "; ".join(f"{name}={value}" for name, value in self._cookies.items()),
            "CONTENT_TYPE": "application/x-www-form-urlencoded",
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        if tag:
            environ["HTTP_IF_NONE_MATCH"] = tag
        answered: list[tuple[str, list[tuple[str, str]]]] = []

        def answer() -> bytes:
            content = self._application(environ, lambda status, headers, *_: answered.append((status, headers)))
            whole = b"".join(content)
            content.close()  # type: ignore[attr-defined]  # every answer of Django has it: it ends the request
            return whole

        text = request(answer).decode()
        ((status, headers),) = answered
        for name, value in headers:
            if name == "Set-Cookie":
                self._cookies |= {key: morsel.value for key, morsel in SimpleCookie(value).items()}
        return Reply(status=int(status.split()[0]), headers=dict(headers), text=text)


class Way:
    """A shopper's way to an order of two pieces, one step at a time; each step asks for one page."""

    def __init__(self, application: Application, *, dice: random.Random, email: str) -> None:
        self._visitor = Visitor(application)
        self._dice = dice
        self._email = email
        self._products: list[str] = []
        self._adding: dict[str, str] = {}
        self._ordering: dict[str, str] = {}
        self.order = ""

    def look(self, request: Request) -> None:
        """The front page."""
        shown = _page(self._visitor.ask(request, "/"), 200)
        offered = sorted({link for link in shown.links if link.startswith("/products/")})
        self._products = self._dice.sample(offered, 2)

    def choose(self, request: Request, number: int) -> None:
        shown = _page(self._visitor.ask(request, self._products[number]), 200)
        self._adding = _form(shown, "quantity").filled({"quantity": "1"})

    def add(self, request: Request) -> None:
        _expect(self._visitor.ask(request, "/cart/", self._adding), 302)

    def simple(self, request: Request, address: str) -> None:
        if "2 in the cart" not in _expect(self._visitor.ask(request, address), 200).text:
            raise WrongPage("the simple view did not find the cart")

    def cart(self, request: Request) -> None:
        _expect(self._visitor.ask(request, "/cart/"), 200)

    def checkout(self, request: Request) -> None:
        form = _form(_page(self._visitor.ask(request, "/checkout/"), 200), "checkout_token")
        self._ordering = form.filled(
            {
                "name": "Ada Lovelace",
                "email": self._email,
                "address": f"Am Sandtorkai {self._email}",
                "postal_code": "20457",
                "city": "Hamburg",
                "country": "DE",
                "shipping": form.choices("shipping")[0],
                "payment_method": "pm_card_visa",
            }
        )

    def send(self, request: Request) -> None:
        """The order."""
        answer = _expect(self._visitor.ask(request, "/checkout/", self._ordering), 302)
        self.order = answer.headers["Location"]
        if not self.order.startswith("/orders/"):
            raise WrongPage(f"no order, but {self.order}")

    def see(self, request: Request) -> str:
        """The order's page; returns its tag."""
        return _expect(self._visitor.ask(request, self.order), 200).headers["ETag"]

    def see_again(self, request: Request, tag: str) -> None:
        """As the page's own script asks while nothing changes."""
        _expect(self._visitor.ask(request, self.order, tag=tag), 304)


def _expect(reply: Reply, status: int) -> Reply:
    if reply.status != status:
        raise WrongPage(f"HTTP {reply.status} instead of {status}: {' '.join(Page.read(reply.text).alerts)}")
    return reply


def _page(reply: Reply, status: int) -> Page:
    return Page.read(_expect(reply, status).text)


def _form(page: Page, name: str) -> Form:
    form = page.form_with(name)
    if form is None:
        raise WrongPage(f"a page without a form that asks for {name}")
    return form
