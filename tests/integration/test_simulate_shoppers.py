"""Simulated shoppers in the real store, and a store that fails them on the way."""

import io
import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from django.core.management import call_command

from shop.models import Order, OrderLine
from tests.integration.orders import offer

Json = dict[str, Any]


@pytest.fixture
def site(live_server: Any, settings: Any) -> str:
    settings.STRIPE_PUBLISHABLE_KEY = "pk_test_sandbox"
    return str(live_server.url)


def simulate(site: str, *arguments: str, orders: int = 4) -> tuple[int, Json]:
    """Exit status and the JSON answer of simulate_shoppers."""
    out = io.StringIO()
    code: Any = 0
    options = ["--orders", str(orders), "--concurrency", "2", "--base-url", site, "--json", *arguments]
    try:
        call_command("simulate_shoppers", *options, stdout=out)
    except SystemExit as end:
        code = end.code
    return code, json.loads(out.getvalue())


def bought() -> list[tuple[str, int]]:
    """Product and quantity of every line of the last run."""
    lines = OrderLine.objects.exclude(order__email="earlier@customers.example").order_by("order__email", "name")
    return list(lines.values_list("name", "quantity"))


def test_they_order_and_the_same_seed_orders_the_same(site: str) -> None:
    for _ in range(5):
        offer(stock=100)
    code, answer = simulate(site)
    assert (code, answer["placed"], answer["distinct orders"]) == (0, 4, 4)
    assert sorted(f"/orders/{token}/" for token in Order.objects.values_list("token", flat=True)) == sorted(
        visit["order"] for visit in answer["visits"]
    )
    first = bought()
    Order.objects.update(email="earlier")
    simulate(site)
    assert bought()[: len(first)] != []
    assert (
        list(
            OrderLine.objects.exclude(order__email="earlier")
            .order_by("order__email", "name")
            .values_list("name", "quantity")
        )
        == first
    )


def test_the_last_piece_is_one_order(site: str) -> None:
    last = offer(stock=1)
    code, answer = simulate(site, "--product", last.slug, "--concurrency", "6", orders=6)
    assert code == 0
    assert (answer["placed"] <= 1, answer["placed"] + answer["sold out"]) == (True, 6)
    assert Order.objects.exclude(status="cancelled").count() == answer["placed"]


def test_cards_that_decline(site: str) -> None:
    from payments.models import Payment

    offer(stock=100)
    simulate(site, "--declines", "100")
    assert set(Payment.objects.values_list("payment_method", flat=True)) == {"pm_card_visa_chargeDeclined"}


class Shaky(ThreadingHTTPServer):
    """Stands before the site: every first request for a page is answered with 503. The first POST of the checkout
    and the second of the cart are carried out, and their answers lost."""

    LOST = frozenset({("POST /checkout/", 1), ("POST /cart/", 2)})

    def __init__(self, site: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.site = site
        self.seen: Counter[str] = Counter()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def times(self, request: str) -> int:
        """How often this was asked, with this time."""
        with self.lock:
            self.seen[request] += 1
            return self.seen[request]


class _Handler(BaseHTTPRequestHandler):
    server: Shaky

    def do_GET(self) -> None:
        if self.server.times(f"GET {self.path}") == 1:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._answer(self._ask(None))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = f"POST {self.path}"
        is_lost = (request, self.server.times(request)) in Shaky.LOST
        answer = self._ask(body)
        if is_lost:
            self.close_connection = True
        else:
            self._answer(answer)

    def _ask(self, body: bytes | None) -> requests.Response:
        address, headers = self.server.site + self.path, dict(self.headers)
        return requests.request(self.command, address, data=body, headers=headers, allow_redirects=False, timeout=30)

    def _answer(self, answer: requests.Response) -> None:
        self.send_response(answer.status_code)
        for name in ("Set-Cookie", "Location", "Content-Type"):
            for value in answer.raw.headers.getlist(name):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture
def shaky(site: str) -> Iterator[Shaky]:
    with Shaky(site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_lost_answer_is_one_order(shaky: Shaky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop.simulation.browser.LONGEST_PAUSE", 0.05)
    for _ in range(3):
        offer(stock=100)
    code, answer = simulate(shaky.url, "--seed", "4", orders=1)
    assert (code, answer["placed"], Order.objects.count()) == (0, 1, 1)
    assert shaky.seen["POST /checkout/"] == 2
    lines = OrderLine.objects.count()
    assert lines > 1, "choose a seed whose first shopper buys more than one product"
    assert shaky.seen["POST /cart/"] == lines  # seen in the cart, so not added again
    # Catalogue, products, cart, checkout, order: each page was asked for twice, and two answers were lost.
    assert answer["retries"] == 4 + lines + 2


def test_a_store_that_never_answers(site: str) -> None:
    code, answer = simulate("http://127.0.0.1:9", "--patience", "1", orders=2)
    assert (code, answer["unanswered"]) == (1, 2)
