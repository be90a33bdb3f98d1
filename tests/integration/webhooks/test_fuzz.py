"""Whatever is posted to a webhook: an answer that is no failure of ours, and nothing is written."""

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notifications.models import MailEvent
from payments.models import BankEvent
from tests.integration.webhooks.senders import an_intent, bank_event, private_key, signed_by_bank, signed_by_mail

if TYPE_CHECKING:
    from tests.integration.webhooks.senders import World

FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
HEADERS = {
    "stripe": ["Stripe-Signature"],
    "sendgrid": ["X-Twilio-Email-Event-Webhook-Signature", "X-Twilio-Email-Event-Webhook-Timestamp"],
}
latin = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=80)
numbers = st.integers(-(2**70), 2**70)
signatures = st.one_of(
    latin,
    st.builds(lambda at, by: f"t={at},v1={by}", numbers, latin),
    st.lists(st.sampled_from(["t", "t=", "v1=", "v0=ab", "t=1", "=", "t=1=2"])).map(",".join),
    numbers.map(str),
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
fields = st.sampled_from(["event", "timestamp", "message_id", "status", "reason"])


def post(path: str, body: bytes, headers: dict[str, str]) -> int:
    client = Client(raise_request_exception=False, enforce_csrf_checks=True)
    return int(client.post(f"/webhooks/{path}/", body, content_type="application/json", headers=headers).status_code)


@pytest.mark.parametrize("path", HEADERS)
@FUZZ
@given(data=st.data(), body=st.one_of(st.binary(max_size=200), anything.map(lambda value: json.dumps(value).encode())))
def test_unsigned(world: "World", path: str, data: st.DataObject, body: bytes) -> None:
    headers = {name: value for name in HEADERS[path] if (value := data.draw(signatures))}
    assert post(path, body, headers) in (400, 403)
    assert not BankEvent.objects.exists()
    assert not MailEvent.objects.exists()


@FUZZ
@given(data=st.data())
def test_events_of_the_bank_that_are_not_what_they_were_agreed_to_be(world: "World", data: st.DataObject) -> None:
    """Well signed, with some parts replaced by anything at all."""
    event: dict[str, Any] = bank_event(about=an_intent())
    for holder in (event, event["data"]["object"]):
        for name in data.draw(st.lists(st.sampled_from(sorted(holder)), max_size=2, unique=True)):
            holder[name] = data.draw(anything)
    body = json.dumps(event).encode()
    status = post("stripe", body, signed_by_bank(body))
    assert status in (200, 400, 403)
    if status != 200:
        assert not BankEvent.objects.filter(event_id=str(event["id"]).replace("\0", "")).exists()


@FUZZ
@given(batch=anything | st.lists(st.dictionaries(fields, anything)))
def test_batches_about_nothing(world: "World", batch: Any) -> None:
    body = json.dumps(batch).encode()
    assert post("sendgrid", body, signed_by_mail(body, private_key(world.sandbox))) in (200, 400)
    assert not MailEvent.objects.exists()
