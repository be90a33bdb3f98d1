"""With the database down the pages say so, and recover by themselves."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpResponse

from payments.models import Payment
from shop.models import Order
from tests.integration.orders import offer
from tests.integration.shopper import Shopper, client, read

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def database_down() -> Iterator[None]:
    """New connections go to a port where nobody listens; the present one is gone."""
    before = {name: connection.settings_dict[name] for name in ("HOST", "PORT")}
    connection.close()
    connection.settings_dict.update(HOST="127.0.0.1", PORT="9")
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(before)


def careful(shopper: Shopper) -> Shopper:
    """As a web server: an exception is an answer."""
    shopper.client.raise_request_exception = False
    return shopper


def is_honest(response: HttpResponse) -> bool:
    return (
        response.status_code == 503
        and int(response["Retry-After"]) > 0
        and "We will be right back" in response.content.decode()
        and response["Cache-Control"] == "no-store"
    )


@pytest.mark.parametrize("path", ["/", "/products/x/", "/cart/", "/checkout/", "/orders/x/", "/admin/"])
def test_every_page_says_so_and_recovers(path: str, caplog: pytest.LogCaptureFixture) -> None:
    shopper = careful(Shopper())
    shopper.put(offer())
    shopper.client.cookies["sessionid"].value  # noqa: B018 - a session that has to be read
    with database_down():
        caplog.clear()
        assert is_honest(shopper.get(path))
        assert [each.args for each in caplog.records if "database_unavailable" in each.msg]
        assert client().get("/healthz").status_code == 200
        assert client().get("/readyz").status_code == 503
    assert shopper.get(path).status_code in (200, 302, 404)
    assert client().get("/readyz").status_code == 200
    assert shopper.client.session["cart"]["lines"]


def test_an_order_that_could_not_be_written_is_placed_by_sending_the_form_again() -> None:
    shopper = careful(Shopper())
    shopper.put(offer())
    data = shopper.filled()
    with database_down():
        assert is_honest(shopper.send(data))
    assert not Order.objects.exists()
    assert shopper.send(data)["Location"] == Order.objects.get().get_absolute_url()
    assert Payment.objects.count() == 1


@contextmanager
def lost_when_changing(table: str) -> Iterator[None]:
    """The server ends the connection that would change a row of it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION lost() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END';"
            f"CREATE TRIGGER lost BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION lost()"
        )
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION lost CASCADE")


def test_a_session_that_cannot_be_saved_is_said_too() -> None:
    """The error comes from the session's middleware, after the view has answered."""
    lamp = offer()
    shopper = careful(Shopper())
    shopper.put(lamp)
    with lost_when_changing("django_session"):
        assert is_honest(shopper.change(lamp, quantity="3"))
    assert shopper.change(lamp, quantity="3").status_code == 302
    assert shopper.client.session["cart"]["lines"] == {str(lamp.pk): 3}


def test_a_login_that_could_not_be_written_is_done_by_sending_the_form_again() -> None:
    """Django had a new secret for the next form by then."""
    User.objects.create_superuser("olga", password="a long one")
    browser: Any = client()
    form = read(browser.get("/admin/login/?next=/admin/")).form_with("password")
    assert form is not None
    data = form.filled({"username": "olga", "password": "a long one"})
    with lost_when_changing("auth_user"):
        assert is_honest(browser.post("/admin/login/", data))
    answer = browser.post("/admin/login/", data)
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    assert browser.get("/admin/").status_code == 200


def test_an_order_whose_cart_could_not_be_emptied_is_not_placed() -> None:
    """They are one transaction: sent again, it is one order."""
    shopper = careful(Shopper())
    shopper.put(offer())
    data = shopper.filled()
    with lost_when_changing("django_session"):
        assert is_honest(shopper.send(data))
    assert not Order.objects.exists()
    assert shopper.client.session["cart"]["lines"]
    assert shopper.send(data)["Location"] == Order.objects.get().get_absolute_url()
    assert Order.objects.count() == Payment.objects.count() == 1
    assert not shopper.client.session.get("cart")
