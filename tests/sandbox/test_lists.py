"""Lists: cursors, periods, filters, expansion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import stripe

from tests.sandbox.clients import confirmed, created, paid, stripe_client
from tests.sandbox_process import SandboxProcess


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[stripe.StripeClient]:
    """A bank in which only these tests make intents: seven of them."""
    folder: Path = tmp_path_factory.mktemp("lists")
    with SandboxProcess(folder) as process:
        bank = stripe_client(process)
        for _ in range(7):
            created(bank)
        yield bank


def test_pages_follow_one_another(own: stripe.StripeClient) -> None:
    everything = [intent.id for intent in own.v1.payment_intents.list({"limit": 100}).data]
    assert len(everything) == 7
    walked = [intent.id for intent in own.v1.payment_intents.list({"limit": 3}).auto_paging_iter()]
    assert walked == everything
    page = own.v1.payment_intents.list({"limit": 2, "ending_before": everything[4]})
    assert [intent.id for intent in page.data] == everything[2:4]
    assert page.has_more
    last = own.v1.payment_intents.list({"limit": 3, "starting_after": everything[4]})
    assert ([intent.id for intent in last.data], last.has_more) == (everything[5:], False)


def test_periods(own: stripe.StripeClient) -> None:
    newest = own.v1.payment_intents.list({"limit": 1}).data[0]
    assert len(own.v1.payment_intents.list({"created": {"gte": newest.created - 60}}).data) == 7
    assert own.v1.payment_intents.list({"created": {"gt": newest.created}}).data == []
    assert own.v1.payment_intents.list({"created": {"lt": newest.created - 60}}).data == []
    assert newest.id in [found.id for found in own.v1.payment_intents.list({"created": newest.created}).data]


def test_limits_and_cursors_are_checked(own: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        own.v1.payment_intents.list({"limit": 101})
    with pytest.raises(stripe.InvalidRequestError, match="No such payment_intent"):
        own.v1.payment_intents.list({"starting_after": "pi_none"})


def test_expansion(bank: stripe.StripeClient) -> None:
    intent = confirmed(bank, created(bank).id, "pm_card_visa", expand=["latest_charge", "payment_method"])
    assert isinstance(intent.latest_charge, stripe.Charge)
    assert isinstance(intent.payment_method, stripe.PaymentMethod)
    listed = bank.v1.payment_intents.list({"limit": 1, "expand": ["data.latest_charge"]}).data[0]
    assert isinstance(listed.latest_charge, stripe.Charge)
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        bank.v1.payment_intents.retrieve(intent.id, {"expand": ["amount"]})


def test_events_are_listed_by_type(bank: stripe.StripeClient) -> None:
    intent = paid(bank)
    succeeded = bank.v1.events.list({"limit": 100, "type": "payment_intent.succeeded"}).data
    assert {event.type for event in succeeded} == {"payment_intent.succeeded"}
    event = next(event for event in succeeded if event.data.object["id"] == intent.id)
    assert event.data.object["status"] == "succeeded"
    assert bank.v1.events.retrieve(event.id).data.object["id"] == intent.id
    of_both = bank.v1.events.list({"types": ["refund.created", "payment_intent.canceled"]}).data
    assert {event.type for event in of_both} <= {"refund.created", "payment_intent.canceled"}
