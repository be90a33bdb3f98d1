"""What the warehouse asks and reports: picklists, shipments, and everything it may get wrong."""

import datetime as dt
import json
import string
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db import connection
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import OperationalError

from outbox.models import Event, OutboxRecord
from shop.decisions import cancel_order
from shop.models import Concern, Order, Shipment
from shop.process_managers import NotPossible
from tests.integration.orders import offer, place
from tests.integration.partner import Json, Partner, problem, read
from tests.integration.picking import accepted, concerns, facts, holds, refunds, settle, status, stock
from tests.threads import together

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def warehouse(transactional_db: None) -> Partner:
    return Partner("warehouse", name="wms")


def report(order_id: int, kind: str = "shipped", *, reference: str = "r-1", **more: Any) -> Json:
    return {"reference": reference, "order_id": order_id, "kind": kind, **more}


def tell(warehouse: Partner, body: Json) -> int:
    return warehouse.post("/warehouse/shipments", body).status_code


def cancel(order_id: int) -> None:
    cancel_order(order_id=order_id, actor="shopper", reason="changed my mind")
    settle()


# --- picklists --------------------------------------------------------------------------------------


def test_a_picklist_says_what_to_send_where_and_no_more(warehouse: Partner) -> None:
    lamp = offer()
    (order_id,) = accepted(lamp)
    answer = warehouse.get(f"/warehouse/picklists/{order_id}")
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    assert read(answer) == {
        "order_id": order_id,
        "number": f"O-{order_id:06d}",
        "state": "requested",
        "shipping_method": "standard",
        "address": {
            "name": "Ada Lovelace",
            "address": "Am Sandtorkai 1",
            "address_2": "",
            "postal_code": "20457",
            "city": "Hamburg",
            "country": "DE",
        },
        "lines": [{"product_id": lamp.pk, "name": lamp.name, "quantity": 1}],
    }


def test_no_picklist_where_none_was_requested(warehouse: Partner) -> None:
    unpaid = place(offer()).order.pk
    settle()
    for order_id in (unpaid, unpaid + 1000, 2**63, 10**30):
        assert problem(warehouse.get(f"/warehouse/picklists/{order_id}")) == (404, "no_picklist")


def test_a_report_does_not_open_the_address_of_an_order_that_was_not_to_be_shipped(warehouse: Partner) -> None:
    unpaid = place(offer()).order.pk
    settle()
    assert tell(warehouse, report(unpaid)) == 201
    answer = warehouse.get(f"/warehouse/picklists/{unpaid}")
    assert problem(answer) == (410, "picklist_done")
    assert "Hamburg" not in answer.content.decode()


def test_a_withdrawn_picklist_has_no_address(warehouse: Partner) -> None:
    (order_id,) = accepted(offer())
    cancel(order_id)
    answer = warehouse.get(f"/warehouse/picklists/{order_id}")
    assert problem(answer) == (410, "picklist_withdrawn")
    assert read(answer)["state"] == "withdrawn"
    assert "Hamburg" not in answer.content.decode()
    assert tell(warehouse, report(order_id, "withdrawn")) == 201
    assert problem(warehouse.get(f"/warehouse/picklists/{order_id}")) == (410, "picklist_done")


def test_a_shipped_order_keeps_its_address_for_a_while(warehouse: Partner) -> None:
    (order_id,) = accepted(offer())
    assert tell(warehouse, report(order_id)) == 201
    answer = warehouse.get(f"/warehouse/picklists/{order_id}")
    assert answer.status_code == 200
    assert read(answer)["state"] == "done"
    Shipment.objects.update(created_at=Shipment.objects.get().created_at - dt.timedelta(days=15))
    assert tell(warehouse, report(order_id, reference="r-2")) == 201  # which does not begin the time anew
    assert problem(warehouse.get(f"/warehouse/picklists/{order_id}")) == (410, "picklist_done")


# --- reports ----------------------------------------------------------------------------------------


def test_shipped(warehouse: Partner) -> None:
    lamp = offer()
    (order_id,) = accepted(lamp)
    assert stock(lamp) == (10, 1)
    body = report(order_id, carrier="Harbour Post", tracking="HP1", sequence=7)
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    warehouse.client.defaults["HTTP_TRACEPARENT"] = trace
    answer = warehouse.post("/warehouse/shipments", body)
    assert answer.status_code == 201
    assert read(answer) == body
    assert not answer.cookies
    assert status(order_id) == "shipped"
    assert (stock(lamp), holds(order_id)) == ((9, 0), {"consumed"})
    settle()
    event = Event.objects.get(type="OrderShipped")
    assert event.payload == {"order_id": order_id, "carrier": "Harbour Post", "tracking": "HP1"}
    assert event.headers["actor"] == "partner:wms"
    assert event.headers["traceparent"] == trace
    assert Shipment.objects.get().reported_by == "wms"
    assert not Session.objects.exists()


def test_the_same_report_again_changes_nothing(warehouse: Partner) -> None:
    lamp = offer()
    (order_id,) = accepted(lamp)
    body = report(order_id)
    assert [tell(warehouse, body) for _ in range(3)] == [201, 200, 200]
    settle()
    assert stock(lamp) == (9, 0)
    assert Event.objects.filter(type="OrderShipped").count() == 1


def test_a_reference_stands_for_one_fact(warehouse: Partner) -> None:
    first, second = accepted(offer(), orders=2)
    assert tell(warehouse, report(first, tracking="a")) == 201
    for other in (
        report(first, tracking="b"),
        report(first, "short", tracking="a"),
        report(second, tracking="a"),
        report(first, tracking="a", sequence=1),
    ):
        assert problem(warehouse.post("/warehouse/shipments", other)) == (409, "reference_taken")
    assert (status(first), status(second)) == ("shipped", "accepted")
    assert Shipment.objects.count() == 1


def test_the_same_report_from_everywhere_at_once(warehouse: Partner) -> None:
    lamp = offer()
    (order_id,) = accepted(lamp)
    answers = together(
        *[lambda: tell(Partner("warehouse", token=warehouse.token), report(order_id))] * 6,
    )
    assert sorted(answers) == [200] * 5 + [201]
    assert stock(lamp) == (9, 0)


def test_one_reference_for_two_orders_at_once(warehouse: Partner) -> None:
    def at_once(first: Json, second: Json) -> list[int]:
        return together(
            lambda: tell(Partner("warehouse", token=warehouse.token), first),
            lambda: tell(Partner("warehouse", token=warehouse.token), second),
        )

    for number in range(5):
        one, other = accepted(offer(), orders=2)
        answers = at_once(report(one, reference=f"r-{number}"), report(other, reference=f"r-{number}"))
        assert sorted(answers) == [201, 409]
        assert {status(one), status(other)} == {"accepted", "shipped"}


def test_short_gives_the_money_back(warehouse: Partner) -> None:
    lamp = offer()
    (order_id,) = accepted(lamp)
    assert tell(warehouse, report(order_id, "short")) == 201
    assert status(order_id) == "fulfillment_failed"
    assert (refunds(order_id), stock(lamp), concerns(order_id)) == (1, (10, 0), [])


def test_an_order_that_nobody_knows(warehouse: Partner) -> None:
    assert problem(warehouse.post("/warehouse/shipments", report(999_999))) == (404, "unknown_order")
    assert not Shipment.objects.exists()


def test_out_of_order_reports_keep_the_warehouses_order(warehouse: Partner) -> None:
    """Withdrawn, then found to have left after all; the later fact arrives first."""
    (order_id,) = accepted(offer())
    cancel(order_id)
    assert tell(warehouse, report(order_id, "shipped", reference="r-2", sequence=2)) == 201
    assert tell(warehouse, report(order_id, "withdrawn", reference="r-1", sequence=1)) == 201
    assert facts(order_id) == ["withdrawn", "shipped"]
    assert (status(order_id), refunds(order_id)) == ("shipped", 0)


def test_a_shipment_for_a_cancelled_order(warehouse: Partner) -> None:
    """A fact all the same: kept, given to a person, and no money is sent twice."""
    lamp = offer()
    (order_id,) = accepted(lamp)
    cancel(order_id)
    assert tell(warehouse, report(order_id, "withdrawn", reference="r-1")) == 201
    assert (status(order_id), refunds(order_id), stock(lamp)) == ("cancelled", 1, (10, 0))
    assert tell(warehouse, report(order_id, "shipped", reference="r-2")) == 201
    assert tell(warehouse, report(order_id, "shipped", reference="r-2")) == 200
    assert facts(order_id) == ["withdrawn", "shipped"]
    assert (status(order_id), refunds(order_id)) == ("cancelled", 1)
    assert concerns(order_id) == ["warehouse_shipped"]
    assert (stock(lamp), holds(order_id)) == ((9, 0), {"consumed"})


def test_a_shipment_for_a_cancelled_order_whose_goods_were_sold_again(warehouse: Partner) -> None:
    last = offer(stock=1)
    (order_id,) = accepted(last)
    cancel(order_id)
    assert tell(warehouse, report(order_id, "withdrawn", reference="r-1")) == 201
    place(last)
    assert tell(warehouse, report(order_id, "shipped", reference="r-2")) == 201
    assert concerns(order_id) == ["stock_promised_to_others", "warehouse_shipped"]
    assert stock(last) == (1, 1)


# --- withdrawal against shipping --------------------------------------------------------------------


def test_the_withdrawal_comes_first(warehouse: Partner) -> None:
    lamp = offer()
    (order_id,) = accepted(lamp)
    cancel(order_id)
    assert status(order_id) == "cancelling"
    assert tell(warehouse, report(order_id, "withdrawn")) == 201
    assert (status(order_id), refunds(order_id), stock(lamp)) == ("cancelled", 1, (10, 0))


def test_the_goods_have_left_before_the_withdrawal_was_read(warehouse: Partner) -> None:
    lamp = offer()
    (order_id,) = accepted(lamp)
    cancel(order_id)
    assert tell(warehouse, report(order_id, "shipped")) == 201
    assert (status(order_id), refunds(order_id), stock(lamp), concerns(order_id)) == ("shipped", 0, (9, 0), [])


def test_the_goods_have_left_before_the_cancellation(warehouse: Partner) -> None:
    (order_id,) = accepted(offer())
    assert tell(warehouse, report(order_id, "shipped")) == 201
    with pytest.raises(NotPossible):
        cancel(order_id)
    assert (status(order_id), refunds(order_id)) == ("shipped", 0)


def test_both_at_the_same_moment(warehouse: Partner) -> None:
    lamp = offer(stock=20)

    def try_to_cancel(order_id: int) -> int:
        try:
            cancel_order(order_id=order_id, actor="shopper", reason="changed my mind")
        except NotPossible:
            return 0
        return 1

    def at_once(order_id: int) -> int:
        _, answer = together(
            lambda: try_to_cancel(order_id),
            lambda: tell(Partner("warehouse", token=warehouse.token), report(order_id, reference=f"r-{order_id}")),
        )
        return answer

    for order_id in accepted(lamp, orders=12):
        assert at_once(order_id) == 201
        assert (status(order_id), refunds(order_id), concerns(order_id)) == ("shipped", 0, [])
    assert stock(lamp) == (8, 0)


# --- bodies that make no sense ----------------------------------------------------------------------


def everything() -> tuple[int, ...]:
    return (Shipment.objects.count(), Concern.objects.count(), OutboxRecord.objects.count(), Event.objects.count())


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"reference": ""}, "$.reference"),
        ({"reference": "a b"}, "$.reference"),
        ({"reference": "a\x00"}, "$.reference"),
        ({"reference": "a\n"}, "$.reference"),
        ({"reference": "a" * 101}, "$.reference"),
        ({"order_id": "1"}, "$.order_id"),
        ({"order_id": 0}, "$.order_id"),
        ({"order_id": 2**63}, "$.order_id"),
        ({"order_id": 1.5}, "$.order_id"),
        ({"order_id": True}, "$.order_id"),
        ({"kind": "lost"}, "$.kind"),
        ({"kind": None}, "$.kind"),
        ({"carrier": "a" * 61}, "$.carrier"),
        ({"tracking": "a\x00"}, "$.tracking"),
        ({"tracking": "a\r\nBcc: eve@example.org"}, "$.tracking"),
        ({"sequence": -1}, "$.sequence"),
        ({"more": 1}, "`more`"),
    ],
)
def test_the_answer_says_what_is_wrong_where(warehouse: Partner, change: Json, where: str) -> None:
    (order_id,) = accepted(offer())
    before = everything()
    answer = warehouse.post("/warehouse/shipments", {**report(order_id), **change})
    assert problem(answer) == (422, "invalid_body")
    assert where in read(answer)["detail"]
    assert everything() == before


def test_bodies_that_are_not_read(warehouse: Partner) -> None:
    body = json.dumps(report(1)).encode()
    for answer, expected in (
        (warehouse.post("/warehouse/shipments", body + b" " * 9000), (413, "body_too_large")),
        (warehouse.post("/warehouse/shipments", b" " * 300_000), (413, "body_too_large")),
        (warehouse.post("/warehouse/shipments", body, content_type="text/plain"), (415, "not_json")),
        (Partner("", token="").post("/warehouse/shipments", body), (401, "token_missing")),
    ):
        assert problem(answer) == expected
    assert everything() == (0, 0, 0, 0)


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
_SENSELESS = st.fixed_dictionaries(
    {},
    optional={
        "reference": _ANY | st.text(alphabet=string.printable, max_size=120),
        "order_id": _ANY | st.just("THE ORDER"),
        "kind": st.sampled_from(["shipped", "short", "withdrawn", "SHIPPED", ""]) | _ANY,
        "carrier": _ANY,
        "tracking": _ANY,
        "sequence": _ANY,
        "else": _ANY,
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_SENSELESS | _ANY | st.binary(max_size=300))
@example(body=b"[" * 8000)
@example(body=b'{"reference":' * 600)
@example(body=b'{"reference": "\\ud800", "order_id": 1, "kind": "short"}')
@example(body=b'\xef\xbb\xbf{"reference": "a"}')
def test_no_body_breaks_it_and_none_that_is_refused_writes(warehouse: Partner, body: Any) -> None:
    order = Order.objects.first()
    if order is None:
        order = place(offer()).order
    if isinstance(body, dict) and body.get("order_id") == "THE ORDER":
        body = {**body, "order_id": order.pk}
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    before = everything()
    answer = warehouse.post("/warehouse/shipments", sent or b" ")
    if answer.status_code in (200, 201):
        said = read(answer)
        assert said["kind"] in ("shipped", "short", "withdrawn")
        assert Shipment.objects.filter(reference=said["reference"], order=order).exists()
    else:
        assert problem(answer)[0] in (404, 409, 413, 422)
        assert everything() == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.text(alphabet=string.printable + "é²\u2028", max_size=40))
def test_no_address_breaks_it(warehouse: Partner, path: str) -> None:
    for root in ("/warehouse/picklists/", "/feeds/"):
        assert warehouse.client.get(root + path).status_code < 500


def test_a_commit_whose_acknowledgement_is_lost_is_found_again(warehouse: Partner) -> None:
    """The session dies after the commit was sent: the same work is done again and finds itself."""
    lamp = offer()
    (order_id,) = accepted(lamp)
    session: Any = connection.connection
    lost: list[bool] = []

    def commit() -> None:
        type(session).commit(session)
        session.close()
        lost.append(True)
        raise OperationalError("server closed the connection unexpectedly")

    session.commit = commit
    answer = warehouse.post("/warehouse/shipments", report(order_id))
    assert lost == [True]
    assert answer.status_code == 200
    assert (status(order_id), stock(lamp)) == ("shipped", (9, 0))
