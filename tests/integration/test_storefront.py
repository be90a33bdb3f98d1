"""What holds for every page: a GET changes nothing, forms are ours, one style of answers, a strict policy."""

from collections.abc import Callable
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.db.models import Sum
from django.http import HttpResponse
from django.test import Client, RequestFactory

from outbox import context
from outbox.models import OutboxRecord
from shop.catalogue.seed import seed
from shop.middleware import TraceMiddleware
from shop.models import Order, Product, ShippingMethod, Stock, StockMovement
from tests.integration.orders import offer
from tests.integration.shopper import Shopper, client, read

pytestmark = pytest.mark.django_db
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def counts() -> dict[str, int]:
    return {model._meta.label: model._default_manager.count() for model in apps.get_models()}


# --- catalogue -----------------------------------------------------------------------------------


def test_the_catalogue_by_category() -> None:
    seed(stock=5)
    page = client().get("/", {"category": "Trail"}).content.decode()
    assert "Brass compass" in page
    assert "Enamel mug" not in page
    assert "Enamel mug" in client().get("/").content.decode()
    assert client().get("/", {"category": "Nonsense"}).status_code == 404


def test_a_product_says_how_many_are_left_and_what_is_gone_cannot_be_bought() -> None:
    few, gone, hidden = offer(stock=2), offer(stock=3), offer()
    Stock.objects.filter(pk=gone.pk).update(reserved=3)
    Product.objects.filter(pk=hidden.pk).update(active=False)
    page = Shopper().get(few.get_absolute_url())
    assert "Only 2 left" in page.content.decode()
    form = read(page).form_with("quantity")
    assert form is not None
    assert form.choices("quantity") == ["1", "2"]
    assert read(Shopper().get(gone.get_absolute_url())).form_with("quantity") is None
    assert client().get(hidden.get_absolute_url()).status_code == 404


def test_a_product_that_was_never_received_is_sold_out() -> None:
    bare = Product.objects.create(slug="bare", name="Bare", category="Goods", price=100)
    assert "Sold out" in client().get(bare.get_absolute_url()).content.decode()
    assert "Sold out" in client().get("/").content.decode()


def test_the_catalogue_takes_a_bounded_number_of_queries(django_assert_max_num_queries: Any) -> None:
    seed(stock=5)
    with django_assert_max_num_queries(2):
        client().get("/")


def test_seeding_twice_is_seeding_once() -> None:
    call_command("seed_catalogue", stock=7, verbosity=0)
    movements, rows = StockMovement.objects.count(), counts()
    call_command("seed_catalogue", stock=7, verbosity=0)
    assert counts() == rows
    assert Product.objects.count() == movements >= 24
    assert ShippingMethod.objects.count() == 3
    for stock in Stock.objects.select_related("product"):
        moved = StockMovement.objects.filter(product=stock.pk).aggregate(sum=Sum("quantity"))["sum"]
        assert stock.on_hand == moved == (1 if stock.product.slug == "ships-clock" else 7)
        assert finders.find(stock.product.image), stock.product.image


def test_a_later_seeding_receives_what_is_missing() -> None:
    seed(stock=5)
    assert seed(stock=6).received == Product.objects.count() - 1


# --- every page ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/products/{slug}/",
        "/products/{slug}/?quantity=2&action=add",
        "/cart/",
        "/cart/?action=add&product={pk}&quantity=1",
        "/cart/?action=remove&product={pk}",
        "/checkout/",
        "/checkout/?checkout_token={token}&payment_method=pm_card_visa",
        "/orders/{token}/",
        "/healthz",
        "/readyz",
        "/admin/login/",
        "/nowhere",
    ],
)
def test_a_get_changes_nothing(path: str) -> None:
    lamp = offer()
    shopper = Shopper()
    shopper.order(lamp)
    shopper.put(lamp)
    before, cart = counts(), dict(shopper.client.session["cart"])
    address = path.format(slug=lamp.slug, pk=lamp.pk, token=Order.objects.get().token)
    for reader in (shopper, Shopper()):
        assert reader.get(address).status_code in (200, 302, 404)
    assert counts() == before
    assert shopper.client.session["cart"] == cart


@pytest.mark.parametrize("path", ["/cart/", "/checkout/"])
def test_a_form_that_is_not_ours_is_refused_in_our_style(path: str) -> None:
    lamp = offer()
    shopper = Shopper()
    shopper.put(lamp)
    data = shopper.filled() if path == "/checkout/" else {"action": "remove", "product": str(lamp.pk)}
    before = counts()
    for forged in ({}, {"csrfmiddlewaretoken": "x" * 64}):
        response = shopper.post(path, {**data, "csrfmiddlewaretoken": "", **forged})
        assert response.status_code == 403
        assert "This form has expired" in response.content.decode()
    assert counts() == before


@pytest.mark.parametrize("path", ["/", "/cart/", "/nowhere", "/admin/login/"])
def test_every_page_has_a_strict_policy(path: str) -> None:
    policy = client().get(path)["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_no_page_has_inline_script_or_style() -> None:
    lamp = offer()
    shopper = Shopper()
    order = shopper.order(lamp)
    shopper.put(lamp)
    for path in ("/", lamp.get_absolute_url(), "/cart/", "/checkout/", order, "/nowhere"):
        page = shopper.get(path).content.decode()
        assert "<style" not in page
        assert " style=" not in page
        assert page.count("<script") == page.count("<script src=")


def test_unknown_pages_and_odd_requests_are_answered_in_our_style() -> None:
    assert "Nothing at this address" in client().get("/nowhere").content.decode()
    odd = client(raise_request_exception=False).get("/", headers={"host": "evil.example"})
    assert (odd.status_code, "did not understand" in odd.content.decode()) == (400, True)
    assert client().delete("/cart/").status_code == 403
    assert Client().delete("/cart/").status_code == 405


def test_a_broken_page_says_so_without_details(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("secret details")

    monkeypatch.setattr("shop.selectors.catalogue", broken)
    response = client(raise_request_exception=False).get("/")
    page = response.content.decode()
    assert (response.status_code, "Something broke on our side" in page) == (500, True)
    assert "secret" not in page


def test_the_demonstration_says_what_it_is(settings: Any) -> None:
    assert "no real card is charged" in client().get("/").content.decode()
    settings.STRIPE_PUBLISHABLE_KEY = "pk_live_x"
    offer()
    assert "no real card is charged" not in client().get("/").content.decode()
    shopper = Shopper()
    shopper.put(offer())
    assert "pm_card_visa" not in shopper.get("/checkout/").content.decode()


# --- who caused what -----------------------------------------------------------------------------


@pytest.mark.parametrize(("sent", "kept"), [(TRACE, True), ("", False), ("00-xyz", False), (TRACE.upper(), False)])
def test_the_trace_of_a_caller_goes_on_into_what_is_published(sent: str, kept: bool) -> None:
    shopper = Shopper()
    shopper.put(offer())
    data = shopper.filled()
    shopper.client.post("/checkout/", data, headers={"traceparent": sent} if sent else {})
    headers = OutboxRecord.objects.earliest("seq").headers
    assert headers["actor"] == "shopper"
    assert (headers["traceparent"] == TRACE) is kept
    assert len(headers["traceparent"]) == len(TRACE)


@pytest.mark.parametrize(
    ("path", "actor"), [("/admin/shop/order/", "operator:eve"), ("/cart/", "shopper"), ("/admin", "shopper")]
)
def test_an_operator_is_named_below_the_admin_only(rf: RequestFactory, path: str, actor: str) -> None:
    seen: list[str] = []

    def view(_: object) -> HttpResponse:
        seen.append(context.current().actor)
        return HttpResponse()

    request = rf.get(path)
    request.user = User(username="eve")
    TraceMiddleware(view)(request)
    assert seen == [actor]
    assert context.current().actor == "system"


# --- health --------------------------------------------------------------------------------------


def test_health_needs_no_database(django_assert_num_queries: Callable[[int], Any]) -> None:
    with django_assert_num_queries(0):
        assert client().get("/healthz").status_code == 200


def test_ready_is_one_question(django_assert_max_num_queries: Callable[[int], Any]) -> None:
    client().get("/readyz")
    with django_assert_max_num_queries(2):
        assert client().get("/readyz").status_code == 200


def test_missing_migrations_are_not_ready_newer_ones_are() -> None:
    from django.db.migrations.recorder import MigrationRecorder

    applied = MigrationRecorder.Migration.objects
    applied.create(app="shop", name="9999_from_the_future")
    assert client().get("/readyz").status_code == 200
    applied.filter(app="shop").exclude(name__startswith="9999").delete()
    response = client().get("/readyz")
    assert (response.status_code, b"missing" in response.content) == (503, True)
