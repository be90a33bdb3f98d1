"""Statements past the ORM, beside what the ORM does."""

import select
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from django.db import (
    DataError,
    Error,
    OperationalError,
    ProgrammingError,
    close_old_connections,
    connection,
    connections,
    models,
    transaction,
)

from outbox import prepared
from outbox.database import is_transient
from shop import selectors
from shop.acting import locked
from shop.models import Order, OrderLine, ShippingMethod
from tests.database_url import database_url
from tests.integration.orders import offer, place

pytestmark = pytest.mark.django_db(transaction=True)


def seen(model: models.Model) -> dict[str, Any]:
    """All that is in a model: its values, to their types and time zones, and what Django knows of its row."""
    values = {name: repr(value) for name, value in model.__dict__.items() if name != "_state"}
    return values | {"adding": model._state.adding, "db": model._state.db, "related": model._state.fields_cache}


@pytest.mark.parametrize("model", [Order, OrderLine, ShippingMethod])
def test_models_are_those_that_their_manager_makes(model: type[models.Model]) -> None:
    for _ in range(2):
        place(offer(), quantity=2)
    Order.objects.update(process={"version": 1, "paid": True, "reason": "ü"})
    read = prepared.read(model, f"{prepared.selection(model)} ORDER BY id".encode(), {})
    assert [seen(each) for each in read] == [seen(each) for each in model._default_manager.order_by("pk")]
    assert read == list(model._default_manager.order_by("pk"))


def test_a_connection_that_was_lost_between_two_requests_is_opened_anew() -> None:
    connection.close()
    ((lost,),) = prepared.run(b"SELECT pg_backend_pid()", {})
    with psycopg.connect(database_url(), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s, 10000)", [lost])
    close_old_connections()  # as before each request
    ((opened,),) = prepared.run(b"SELECT pg_backend_pid()", {})
    assert opened != lost


def test_a_connection_is_asked_only_when_something_came_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a server says unasked (a setting that was reloaded, a notification) is no farewell."""
    prepared.run(b"LISTEN news", {})
    ((same,),) = prepared.run(b"SELECT pg_backend_pid()", {})
    with psycopg.connect(database_url(), autocommit=True) as other, select.epoll() as incoming:
        incoming.register(connection.connection.fileno(), select.EPOLLIN)
        other.execute("NOTIFY news")
        assert incoming.poll(30)
    close_old_connections()
    assert prepared.run(b"SELECT pg_backend_pid()", {}) == [(same,)]
    close_old_connections()
    monkeypatch.setattr(connection, "is_usable", None)
    assert prepared.run(b"SELECT pg_backend_pid()", {}) == [(same,)]
    connection.close()


VALUES = b"""
SELECT n, n::int, n / 3::numeric, n / 7::float8, n > 1, 'x' || n, NULL::text, '%%'::varchar, md5(n::text)::uuid, now(),
    current_date, interval '1 day 2 h', '{"a": [1, null]}'::jsonb, '{"b": "\\u00fc"}'::json, ARRAY[n, NULL],
    ARRAY['a"b'], '\\x00ff'::bytea, ''
FROM generate_series(1, %(count)s::bigint) AS n
"""


def test_rows_are_those_of_a_cursor() -> None:
    with transaction.atomic():  # `now` is its beginning
        for count in (0, 1, 3):
            with psycopg.Cursor(connection.connection) as cursor:
                told = cursor.execute(VALUES, {"count": str(count)}, binary=True).fetchall()
            assert prepared.run(VALUES, {"count": str(count)}) == told
            assert len(told) == count


@pytest.mark.parametrize("text", ["", "ü€😀", "it's", '"', "\\", '\\"{},;', "NULL", " a\tb\n", "%s %(x)s %%"])
def test_texts_arrive_as_they_are(text: str) -> None:
    two = b"SELECT %(text)s::text, %(texts)s::text[], %(text)s::text, '%%'"
    many = [text, "", text * 2]
    assert prepared.run(two, {"text": text, "texts": prepared.texts(many)}) == [(text, many, text, "%")]
    assert prepared.run(b"SELECT %(x)s::text[]", {"x": prepared.texts([])}) == [([],)]


def test_numbers_are_arrays() -> None:
    for numbers in ([], [7], [-1, 2**62]):
        assert prepared.run(b"SELECT %(x)s::bigint[]", {"x": prepared.numbers(numbers)}) == [(numbers,)]


def test_what_cannot_be_text_is_refused_and_nothing_is_sent() -> None:
    with transaction.atomic():
        with pytest.raises(DataError, match="NUL"):
            prepared.run(b"SELECT %(x)s::text", {"x": "a\0b"})
        assert prepared.run(b"SELECT 1", {}) == [(1,)]


def run_briefly(statement: bytes, **parameters: str) -> None:
    """For at most 50 ms."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL statement_timeout = 50")
        prepared.run(statement, parameters)


def test_an_error_is_what_a_cursor_raises() -> None:
    for statement, error, state in (
        (b"SELECT 1 / %(x)s::int", DataError, "22012"),
        (b"SELECT %(x)s FROM nowhere", ProgrammingError, "42P01"),
        (b"SELECT pg_sleep(30), set_config('a.b', %(x)s, true)", OperationalError, "57014"),
    ):
        with pytest.raises(error) as raised:
            run_briefly(statement, x="0")
        assert raised.value.__cause__.sqlstate == state  # type: ignore[union-attr]
        assert not is_transient(raised.value)
    assert prepared.run(b"SELECT 1 / %(x)s::int", {"x": "1"}) == [(1,)]  # it was prepared before it failed


def test_a_session_that_ends_meanwhile_is_transient() -> None:
    end = b"SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(30)"
    for statement in (end, b"SELECT 1"):
        with pytest.raises(Error) as raised:
            prepared.run(statement, {})
        assert is_transient(raised.value)
    connection.close()
    assert prepared.run(b"SELECT 1", {}) == [(1,)]


def test_it_is_prepared_once_and_belongs_to_the_transaction() -> None:
    connection.close()
    counted = b"SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'store%%'"
    assert [prepared.run(counted, {}) for _ in range(3)] == [[(1,)]] * 3
    begun = b"SELECT pg_current_xact_id()::text::bigint"
    with transaction.atomic():
        ((first,),) = prepared.run(begun, {})
        assert prepared.run(begun, {}) == [(first,)]
    assert prepared.run(begun, {}) != [(first,)]
    with suppress(ZeroDivisionError), transaction.atomic():
        prepared.run(b"LISTEN taken_back", {})
        raise ZeroDivisionError
    assert prepared.run(b"SELECT pg_listening_channels()", {}) == []
    connection.close()


def test_one_plan_for_all_values(monkeypatch: pytest.MonkeyPatch) -> None:
    database = connections.settings["default"]
    monkeypatch.setitem(database, "OPTIONS", database["OPTIONS"])
    connection.close()
    prepared.plan_once()
    for value in ("1", "2", "3"):
        assert prepared.run(b"SELECT %(value)s::text", {"value": value}) == [(value,)]
    plans = b"SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement LIKE '%%::text'"
    assert prepared.run(plans, {}) == [(0, 3)]
    connection.close()


def test_a_model_that_was_read_is_a_model() -> None:
    order = place(offer()).order
    (read,) = prepared.read(Order, prepared.selection(Order).encode(), {})
    read.city = "Berlin"
    read.save(update_fields=["city"])
    order.refresh_from_db()
    assert order.city == "Berlin"
    assert read.shipping_method == order.shipping_method
    assert list(read.lines.all()) == list(order.lines.all())


def test_orders_are_locked_until_the_transaction_ends() -> None:
    order, other = place(offer()).order, place(offer()).order
    with transaction.atomic(), psycopg.connect(database_url(), autocommit=True) as somebody:
        assert locked([order.pk, 0]) == {order.pk: order}
        free = somebody.execute("SELECT id FROM shop_order FOR NO KEY UPDATE SKIP LOCKED").fetchall()
        assert free == [(other.pk,)]


def test_orders_with_their_lines_and_shipping() -> None:
    first, second = place(offer()).order, place(offer(), quantity=3).order
    found = selectors.orders([second.pk, first.pk, 0])
    assert found.keys() == {first.pk, second.pk}
    for order in (first, second):
        assert found[order.pk].order == order
        assert list(found[order.pk].lines) == list(selectors.lines_of(order))
        assert found[order.pk].shipping_method == order.shipping_method
    assert selectors.orders([]) == {}
