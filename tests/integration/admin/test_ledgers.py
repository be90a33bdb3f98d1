"""The admin's lists: quick however long, searchable, exported safely, and never edited."""

import csv
import io
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from outbox.models import FeedToken
from payments.models import Payment
from shop.groups import ADMINISTRATOR, OPERATOR, VIEWER, WAREHOUSE
from shop.models import Order, Product
from tests.integration.admin.operators import Operator
from tests.integration.admin.scenarios import SCENARIOS
from tests.integration.orders import offer, place

pytestmark = pytest.mark.django_db

OURS = ("outbox", "payments", "shop", "notifications")
MODELS = [model for model in admin.site._registry if model._meta.app_label in OURS]
CATALOGUE = ("product", "shippingmethod")  # the only ones that are edited
LEDGERS = [model for model in MODELS if model._meta.model_name not in CATALOGUE]


def listing(model: Any) -> str:
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/"


def counts() -> dict[str, int]:
    kept = [model for model in apps.get_models() if model._meta.app_label in OURS]
    return {model._meta.label: model._default_manager.count() for model in kept}


def everything() -> None:
    """At least a row of nearly every kind."""
    for key, scenario in SCENARIOS.items():
        if key not in {("shop.product", "return"), ("outbox.subscription", "resume")}:
            scenario.prepare()


# All lists in one test, as it is the rows that take time to make.


def test_operators_look_and_search_but_change_nothing(admin_client: Client) -> None:
    everything()
    before = counts()
    for model in LEDGERS:
        url = listing(model)
        for term in ("", "O-000001", "zzz' \u2028", "99999999999999999999", "6f0c2c9e-7f0a-4f53-9df1-3b3a5e0f7c11"):
            assert admin_client.get(url, {"q": term}).status_code == 200, url
        if model is not FeedToken:
            assert admin_client.get(url + "add/").status_code == 403, url
        for row in model._default_manager.all()[:1]:
            assert admin_client.get(f"{url}{row.pk}/change/").status_code == 200, url
            assert admin_client.post(f"{url}{row.pk}/change/", {}).status_code == 403, url
            assert admin_client.post(f"{url}{row.pk}/delete/", {"post": "yes"}).status_code == 403, url
        admin_client.post(url, {"action": "delete_selected", "_selected_action": ["1"], "post": "yes"})
    assert counts() == before


def test_no_list_asks_for_each_row_or_counts_a_whole_table(admin_client: Client) -> None:
    everything()
    few = {model: len(_asked(admin_client, listing(model))) for model in MODELS}
    everything()
    for model in MODELS:
        asked = _asked(admin_client, listing(model))
        assert len(asked) == few[model], asked
        if model in LEDGERS:
            counted = [sql for sql in asked if "COUNT(" in sql and f'FROM "{model._meta.db_table}"' in sql]
            assert counted, asked
            assert all("LIMIT 5000" in sql for sql in counted), counted


def test_every_filter_works(admin_client: Client) -> None:
    everything()
    for model in LEDGERS:
        changelist = admin_client.get(listing(model)).context["cl"]
        for spec in changelist.filter_specs:
            for choice in spec.choices(changelist):
                assert admin_client.get(listing(model) + choice["query_string"]).status_code == 200, choice


def _asked(client: Client, url: str) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return [query["sql"] for query in captured]


@pytest.mark.parametrize(
    ("model", "terms"),
    [
        ("shop/order", ["{number}", "{number_small}", "{pk}", "ada@example.org", "ADA@Example.org", "ada lovelace"]),
        ("payments/payment", ["{number}", "{number_small}", "{pk}"]),
    ],
)
def test_an_order_is_found_as_people_name_it(model: str, terms: list[str], admin_client: Client) -> None:
    lamp = offer()
    order = place(lamp).order
    other = place(lamp, email="grace@example.org").order
    Order.objects.filter(pk=other.pk).update(name="Grace Hopper")
    for term in terms:
        named = term.format(number=order.number, number_small=order.number.lower(), pk=order.pk)
        page = admin_client.get(f"/admin/{model}/", {"q": named}).content.decode()
        assert order.number in page, named
        assert other.number not in page, named


# --- export -----------------------------------------------------------------------------------------


def exported(response: Any) -> list[dict[str, str]]:
    assert response.status_code == 200
    text = b"".join(response.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def numbers(model: Any) -> list[str]:
    """Newest first."""
    return [str(pk) for pk in model.objects.order_by("-pk").values_list("pk", flat=True)]


def test_the_filtered_list_is_exported_whole() -> None:
    lamp = offer(stock=100)
    for _ in range(3):
        place(lamp)
    newest = Payment.objects.latest("pk")
    Payment.objects.filter(pk=newest.pk).update(status="canceled", settled_at="2026-01-01T00:00:00Z")
    client = Operator(VIEWER).client
    rows = exported(client.get("/admin/payments/payment/csv/"))
    assert [row["id"] for row in rows] == [
        str(pk) for pk in Payment.objects.order_by("-pk").values_list("pk", flat=True)
    ]
    (row,) = exported(client.get("/admin/payments/payment/csv/?status__exact=canceled"))
    assert (row["amount"], row["currency"], row["settled_at"]) == ("2490", "EUR", "2026-01-01T00:00:00Z")


def test_no_export_runs_in_a_spreadsheet() -> None:
    order = place(offer()).order
    Order.objects.filter(pk=order.pk).update(name='=HYPERLINK("http://evil.example")', address="@SUM(A1)", city="-1+1")
    (row,) = exported(Operator(VIEWER).client.get("/admin/shop/order/csv/"))
    assert (row["name"][:2], row["address"][:2], row["city"]) == ("'=", "'@", "'-1+1")


def test_no_export_tells_a_secret() -> None:
    SCENARIOS["outbox.feedtoken", "revoke"].prepare()
    (row,) = exported(Operator(VIEWER).client.get("/admin/outbox/feedtoken/csv/"))
    assert "digest" not in row


def test_long_exports_come_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("outbox.ledger_admin.CHUNK", 2)
    lamp = offer(stock=100)
    for _ in range(5):
        place(lamp)
    rows = exported(Operator(VIEWER).client.get("/admin/shop/order/csv/"))
    assert [row["id"] for row in rows] == numbers(Order)


@pytest.mark.parametrize("path", ["payments/payment/csv/", "shop/order/csv/", "shop/order/"])
def test_without_permission_there_is_nothing_to_see(path: str) -> None:
    assert Operator().client.get(f"/admin/{path}").status_code == 403


# --- what is edited ---------------------------------------------------------------------------------


def test_only_administrators_edit_the_catalogue_and_nobody_the_stock() -> None:
    lamp = offer()
    url = f"/admin/shop/product/{lamp.pk}/change/"
    values = {"slug": lamp.slug, "name": "Lamp", "category": "Goods", "price": "2100", "active": "on"}
    for group in (VIEWER, OPERATOR, WAREHOUSE):
        assert post(Operator(group).client, url, values).status_code == 403
    assert post(Operator(ADMINISTRATOR).client, url, values).status_code == 302
    lamp.refresh_from_db()
    assert (lamp.name, lamp.price, lamp.stock.on_hand) == ("Lamp", 2100, 10)
    stock = f"/admin/shop/stock/{lamp.pk}/change/"
    assert post(Operator(ADMINISTRATOR).client, stock, {"on_hand": "99"}).status_code == 403
    assert Product.objects.get(pk=lamp.pk).stock.on_hand == 10


def test_a_new_feed_token_is_shown_once() -> None:
    boss = Operator(ADMINISTRATOR)
    url = "/admin/outbox/feedtoken/add/"
    values = {"feed": "warehouse", "name": "north", "reason": "a second warehouse"}
    assert post(Operator(OPERATOR).client, url, values).status_code == 403
    answer = post(boss.client, url, values)
    assert answer.status_code == 302
    token = FeedToken.objects.get()
    shown = boss.client.get(answer["Location"]).content.decode()
    assert f"shown this once: {token.pk}." in shown
    assert f"shown this once: {token.pk}." not in boss.client.get(answer["Location"]).content.decode()
    again = post(boss.client, url, values)
    assert again.status_code == 200
    assert "revoke it first" in again.content.decode()
    assert FeedToken.objects.count() == 1


def post(client: Client, url: str, values: dict[str, str]) -> Any:
    client.get("/admin/password_change/")
    return client.post(url, {"csrfmiddlewaretoken": client.cookies["csrftoken"].value, **values})
