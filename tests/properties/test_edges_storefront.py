"""Whatever a shopper's browser, or somebody who pretends to be one, sends to the pages."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.models import Order
from tests.integration.admin.scenarios import SCENARIOS
from tests.integration.orders import SHIPPING, offer
from tests.integration.shopper import ANSWERS
from tests.properties.edges import Edge, content_types, encoded, texts
from tests.properties.profiles import tried

anything = texts | st.binary(max_size=8)


class Shop(Edge):
    """A product to buy, and orders in the states that a shopper can do something about."""

    def __init__(self) -> None:
        self.product = offer(stock=1000)
        prepared: list[Any] = [
            SCENARIOS["shop.order", "cancel"].prepare(),
            SCENARIOS["payments.payment", "check"].prepare(),  # the customer is to confirm
            SCENARIOS["payments.payment", "refund"].prepare(),
        ]
        ids = [getattr(each, "order_id", each.pk) for each in prepared]
        self.orders = list(Order.objects.filter(pk__in=ids).order_by("pk"))
        super().__init__()

    def put(self) -> str:
        """One piece into the cart; the checkout's token."""
        self.client.post("/cart/", {"action": "add", "product": str(self.product.pk), "quantity": "1"})
        response: Any = self.client.get("/checkout/")
        return str(response.context["checkout_token"])


@pytest.fixture
def edge(store: None, settings: Any) -> Shop:
    settings.CARD_TRIES_PER_ADDRESS = settings.CARD_TRIES_PER_SESSION = settings.CARD_TRIES_GLOBAL = 0
    settings.REVIEW_ORDERS_PER_EMAIL = settings.REVIEW_ORDERS_PER_ADDRESS = 0
    return Shop()


# What is wrong about a form that is otherwise right.
wrong = st.dictionaries(
    st.sampled_from([*ANSWERS, "address_2", "shipping", "checkout_token", "x"]), anything, max_size=2
)
cart_fields = st.dictionaries(
    st.sampled_from(["action", "product", "quantity", "x"]),
    st.sampled_from(["add", "set", "remove", "1", "2"]) | anything,
    max_size=4,
)


@tried(30)
@given(fields=cart_fields)
def test_the_cart(edge: Shop, fields: dict[str, Any]) -> None:
    edge.send("/cart/", fields)
    assert edge.get("/cart/").status_code == 200


@tried(30)
@given(fields=wrong, total=st.just("") | anything, is_whole=st.booleans())
def test_the_checkout(edge: Shop, fields: dict[str, Any], total: str, is_whole: bool) -> None:
    right = {
        **ANSWERS,
        "checkout_token": edge.put(),
        "shipping": "standard",
        "total_standard": str(edge.product.price + SHIPPING),
    }
    edge.client.get("/cart/")
    edge.send("/checkout/", {**(right if is_whole else {}), **({"total_standard": total} if total else {}), **fields})


@tried(30)
@given(
    data=st.data(),
    fields=st.dictionaries(st.sampled_from(["action", "payment_method", "x"]), st.just("pm_card_visa") | anything),
    query=st.dictionaries(st.sampled_from(["payment_intent", "redirect_status", "x"]), anything),
    tag=texts.filter(str.isprintable),
)
def test_an_orders_page(
    edge: Shop, data: st.DataObject, fields: dict[str, Any], query: dict[str, Any], tag: str
) -> None:
    path = data.draw(st.sampled_from(edge.orders)).get_absolute_url()
    edge.send(path, fields)
    edge.get(path, query, headers={"If-None-Match": tag})
    assert edge.get(path).status_code == 200


@tried(30)
@given(
    text=texts,
    query=st.dictionaries(st.sampled_from(["category", "x"]), anything),
    kind=content_types,
    traceparent=texts.filter(str.isprintable),
)
def test_addresses_that_nobody_gave(edge: Shop, text: str, query: dict[str, Any], kind: str, traceparent: str) -> None:
    for path in ("/", f"/products/{encoded(text)}/", f"/orders/{encoded(text)}/", f"/{encoded(text)}"):
        edge.get(path, query, content_type=kind, headers={"traceparent": traceparent, "X-Forwarded-For": traceparent})
    for path in ("/", "/products/x/", "/cart/", "/checkout/", "/healthz", "/readyz", "/metrics"):
        edge.post(path, text.encode(errors="surrogatepass"), content_type=kind)
