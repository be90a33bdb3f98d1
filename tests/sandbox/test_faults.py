"""Each fault, as a caller with the official SDK meets it."""

from __future__ import annotations

import time
from http.client import HTTPException
from pathlib import Path

import pytest
import requests
import stripe
from python_http_client.exceptions import HTTPError
from sendgrid import SendGridAPIClient

from tests.sandbox.clients import created, new_key, stripe_client
from tests.sandbox.mails import a_mail
from tests.sandbox_process import SandboxProcess


def create_with(bank: stripe.StripeClient, key: str) -> stripe.PaymentIntent:
    return bank.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": key})


def made_with(world: SandboxProcess, key: str) -> list[str]:
    """Return the intents that the ledger has for a key."""
    return [
        value["id"]
        for line in world.ledger(book="bank")
        if line.get("key") == key
        for value in line.get("objects", [])
        if value["object"] == "payment_intent"
    ]


@pytest.mark.parametrize("kind", ["drop_after", "reset", "cut_body", "malformed_body"])
def test_an_answer_that_is_lost_after_the_effect(bank: stripe.StripeClient, world: SandboxProcess, kind: str) -> None:
    key = new_key()
    world.add_fault("payment_intents.create", kind, times=1)
    with pytest.raises(stripe.APIError if kind == "malformed_body" else stripe.APIConnectionError):
        create_with(bank, key)
    made = made_with(world, key)
    assert len(made) == 1
    replay = create_with(bank, key)
    assert [replay.id] == made
    assert replay.last_response is not None
    assert replay.last_response.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("kind", ["refuse", "drop_before"])
def test_a_call_that_never_had_an_effect(bank: stripe.StripeClient, world: SandboxProcess, kind: str) -> None:
    key = new_key()
    world.add_fault("payment_intents.create", kind, times=1)
    with pytest.raises(stripe.APIConnectionError):
        create_with(bank, key)
    assert made_with(world, key) == []
    made = create_with(bank, key)
    assert made.last_response is not None
    assert "Idempotent-Replayed" not in made.last_response.headers


def test_a_bank_that_is_down_refuses_connections(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    created(bank)  # a connection that is kept alive is cut too
    rule = world.add_fault("*", "down")
    with pytest.raises(requests.ConnectionError, match="refused"):
        requests.get(f"{world.url}/v1/balance", timeout=5)
    with pytest.raises(stripe.APIConnectionError):
        created(bank)
    assert world.faults()[0]["kind"] == "down"  # control stays reachable
    world.remove_fault(rule)
    assert created(bank).id


def test_delays(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    for kind in ("delay", "delay_answer", "slow_drip"):
        world.add_fault("payment_intents.create", kind, times=1, seconds=0.4)
        started = time.monotonic()
        assert created(bank).id
        assert time.monotonic() - started >= 0.4


def test_a_delayed_answer_comes_after_the_effect(world: SandboxProcess) -> None:
    impatient = stripe.StripeClient(
        "sk_test_1",
        base_addresses={"api": world.url},
        max_network_retries=0,
        http_client=stripe.RequestsClient(timeout=(1, 0.3)),
    )
    key = new_key()
    world.add_fault("payment_intents.create", "delay_answer", times=1, seconds=1)
    with pytest.raises(stripe.APIConnectionError):
        create_with(impatient, key)
    assert create_with(impatient, key).id == made_with(world, key)[0]


def test_429_and_409(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    world.add_fault("payment_intents.create", "rate_limit", times=1)
    with pytest.raises(stripe.RateLimitError) as limited:
        created(bank)
    assert limited.value.headers is not None
    assert limited.value.headers["Retry-After"] == "1"
    assert limited.value.headers["Stripe-Rate-Limited-Reason"] == "global-rate"
    world.add_fault("payment_intents.create", "conflict_409", times=1)
    with pytest.raises(stripe.APIError) as conflict:
        created(bank)
    assert conflict.value.http_status == 409


def test_the_real_rate_limit(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path, rate_limit=5) as world:
        bank = stripe_client(world)

        def hurry() -> None:
            for _ in range(50):
                bank.v1.balance.retrieve()

        with pytest.raises(stripe.RateLimitError):
            hurry()


def test_rules_match_by_name_pattern_text_and_number(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    world.add_fault("refunds.*", "error_500_before")
    intent = created(bank)
    world.clear_faults()
    rule = world.add_fault("bank", "error_500_before", match="order]=13", times=2)
    assert created(bank, metadata={"order": "12"}).id
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            created(bank, metadata={"order": "13"})
    assert created(bank, metadata={"order": "13"}).id
    assert bank.v1.payment_intents.retrieve(intent.id).id == intent.id
    assert [found["fired"] for found in world.faults() if found["id"] == rule] == [2]


def test_a_probability_is_repeatable(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    def outcomes() -> list[bool]:
        rule = world.add_fault("balance.retrieve", "refuse", probability=0.5, seed=7)
        seen = []
        for _ in range(20):
            try:
                bank.v1.balance.retrieve()
                seen.append(True)
            except stripe.APIConnectionError:
                seen.append(False)
        world.remove_fault(rule)
        return seen

    first = outcomes()
    assert set(first) == {True, False}
    assert outcomes() == first


@pytest.mark.parametrize(
    "rule",
    [
        {"op": "*", "kind": "explode"},
        {"op": "*", "kind": "delay", "times": 0},
        {"op": "*", "kind": "delay", "probability": 2},
        {"op": "mail.send", "kind": "duplicate"},
        {"op": "webhook.stripe", "kind": "drop_after"},
        {"op": "*", "kind": "delay", "colour": "red"},
    ],
)
def test_rules_that_make_no_sense_are_refused(world: SandboxProcess, rule: dict[str, object]) -> None:
    answer = requests.post(f"{world.control_url}/_control/faults", json=rule, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_mail_faults(mail: SendGridAPIClient, world: SandboxProcess) -> None:
    for kind, accepted in (("drop_after", 1), ("drop_before", 0), ("error_500_before", 0), ("error_500_after", 1)):
        body = a_mail(to=f"{new_key()}@example.com")
        world.add_fault("mail.send", kind, times=1)
        with pytest.raises((OSError, HTTPError, HTTPException)):
            mail.client.mail.send.post(request_body=body)
        recipient = body["personalizations"][0]["to"][0]["email"]
        lines = [line for line in world.ledger(book="mail") if recipient in str(line.get("messages"))]
        assert len(lines) == accepted, kind


def test_what_is_under_way_is_counted(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    before = world.stats()["ops"].get("balance.retrieve", {}).get("200", 0)
    bank.v1.balance.retrieve()
    assert world.stats()["ops"]["balance.retrieve"]["200"] == before + 1
