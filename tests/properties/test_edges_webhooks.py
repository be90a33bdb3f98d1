"""Whatever is posted to the webhooks, well signed too: kept, or refused without a trace."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from notifications.models import MailEvent, Message
from payments.gateways.notices import TYPES
from payments.models import Payment
from tests.integration.admin.scenarios import SCENARIOS
from tests.integration.webhooks.senders import bank_event, signed_by_bank, signed_by_mail
from tests.properties.edges import Edge, bodies, content_types, jsons, numbers, texts
from tests.properties.profiles import tried


class Providers(Edge):
    """Bank and mail provider, who know of a payment and a mail of ours."""

    def __init__(self, settings: Any) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        public = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        settings.SENDGRID_WEBHOOK_PUBLIC_KEY = "".join(public.decode().splitlines()[1:-1])
        payment, mail = (
            SCENARIOS["payments.payment", "check"].prepare(),
            SCENARIOS["notifications.message", "check"].prepare(),
        )
        assert isinstance(payment, Payment)
        assert isinstance(mail, Message)
        self.payment, self.mail = payment, mail
        super().__init__()

    def bank(self, body: bytes) -> int:
        return self.post(
            "/webhooks/stripe/", body, content_type="application/json", headers=signed_by_bank(body)
        ).status_code

    def mails(self, body: bytes) -> int:
        headers = signed_by_mail(body, self.key)
        return self.post("/webhooks/sendgrid/", body, content_type="application/json", headers=headers).status_code


@pytest.fixture
def edge(store: None, settings: Any) -> Providers:
    return Providers(settings)


# Parts of an event, each nearly right.
ours = st.sampled_from(["the intent", "the payment", "pi_other", "re_1", "dp_1"])
objects = st.fixed_dictionaries(
    {"id": ours | texts, "object": st.sampled_from(["payment_intent", "refund", "dispute", "charge"])},
    optional={
        "payment_intent": ours | jsons,
        "metadata": st.dictionaries(st.sampled_from(["payment", "refund", "order"]) | texts, ours | texts) | jsons,
        "amount": numbers,
    },
)
changes = st.dictionaries(
    st.sampled_from(["id", "object", "created", "livemode", "type", "data", "api_version", "x"]), jsons, max_size=1
)
mail_events = st.fixed_dictionaries(
    {
        "event": st.sampled_from(["delivered", "bounce", "dropped"]) | texts,
        "timestamp": numbers | st.just(1_700_000_000),
    },
    optional={
        name: st.just("the mail") | texts | jsons
        for name in ("message_id", "sg_message_id", "status", "bounce_classification", "reason")
    },
)


def filled(edge: Providers, value: Any) -> Any:
    """With the ids of what is here."""
    known = {
        "the intent": edge.payment.intent_id,
        "the payment": str(edge.payment.public_id),
        "the mail": str(edge.mail.public_id),
    }
    if isinstance(value, dict):
        return {name: filled(edge, each) for name, each in value.items()}
    return known.get(value, value) if isinstance(value, str) else value


@tried(80)
@given(type=st.sampled_from(TYPES), about=objects | jsons, wrong=changes)
def test_events_of_the_bank(edge: Providers, type: str, about: Any, wrong: dict[str, Any]) -> None:
    event = {**bank_event(about=filled(edge, about), type=type), **wrong}
    assert edge.bank(json.dumps(event).encode()) in (200, 400, 403)


@tried(50)
@given(batch=st.lists(mail_events | jsons, max_size=3))
def test_events_of_the_mail_provider(edge: Providers, batch: list[Any]) -> None:
    assert edge.mails(json.dumps([filled(edge, each) for each in batch]).encode()) == 200


def test_half_of_a_character_in_one_event_hides_no_other(edge: Providers) -> None:
    """A reason that somebody cut in the middle of an emoji."""
    event = {"event": "delivered", "timestamp": 1_700_000_000, "message_id": str(edge.mail.public_id)}
    cut = {**event, "event": "bounce", "reason": "full \ud83d"}
    assert edge.mails(json.dumps([cut, event]).encode()) == 200
    assert list(MailEvent.objects.order_by("kind").values_list("kind", "cause")) == [("bounce", ""), ("delivered", "")]


@tried(40)
@given(body=bodies)
def test_bodies_that_are_no_events(edge: Providers, body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError:
        return  # signed as text, both of them
    assert edge.bank(body) == 400
    assert edge.mails(body) in (200, 400)


@tried(40)
@given(body=bodies, kind=content_types, signature=texts.filter(str.isprintable))
def test_unsigned(edge: Providers, body: bytes, kind: str, signature: str) -> None:
    name = {"stripe": "Stripe-Signature", "sendgrid": "X-Twilio-Email-Event-Webhook-Signature"}
    for path, header in name.items():
        answer = edge.post(f"/webhooks/{path}/", body, content_type=kind, headers={header: signature})
        assert answer.status_code in (400, 403)
