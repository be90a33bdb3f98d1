"""The feed's events against the CloudEvents project's own schema."""

import datetime as dt

import pytest

from outbox.events import declared
from outbox.feeds import cloud_event
from outbox.models import Event
from shop.decisions import cancel_order
from tests.contracts import CloudEventsContract
from tests.integration.orders import offer
from tests.integration.partner import Json, Partner, read
from tests.integration.picking import accepted, settle

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.contracts]


def test_the_warehouses_events_are_cloud_events() -> None:
    contract = CloudEventsContract()
    (order, *_) = accepted(offer(), orders=3)
    cancel_order(order_id=order, actor="shopper", reason="changed my mind")
    settle()
    events = read(Partner("warehouse").get("/feeds/warehouse"))["events"]
    assert [event["type"] for event in events] == ["PicklistRequested"] * 3 + ["PicklistWithdrawn"]
    for event in events:
        assert contract.event_errors(event) == []
        assert event["specversion"] == "1.0"
        assert dt.datetime.fromisoformat(event["time"]).utcoffset() == dt.timedelta(0)
        assert event["subject"] == str(event["data"]["order_id"])
        assert ("PicklistRequested", event["dataversion"]) in declared()
    sequences = [event["sequence"] for event in events]
    assert sequences == sorted(sequences)  # as texts, which is what the extension asks for


def test_every_event_of_the_log_could_be_offered() -> None:
    """Also those that begin a story or came before it had one: no attribute is empty."""
    contract = CloudEventsContract()
    accepted(offer())
    for event in Event.objects.all():
        assert contract.event_errors(cloud_event(event)) == []
        event.headers = {}
        assert contract.event_errors(cloud_event(event)) == []


def test_the_contract_refuses_what_is_none() -> None:
    contract = CloudEventsContract()
    event = {"specversion": "1.0", "id": "1", "source": "/", "type": "Thing"}
    assert contract.event_errors(event) == []
    wrongs: list[Json] = [{"id": ""}, {"id": None}, {"traceId": "x"}, {"trace_id": "x"}, {"trace": ""}, {"trace": {}}]
    for wrong in wrongs:
        assert contract.event_errors({**event, **wrong}) != []
