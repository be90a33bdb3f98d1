"""Idempotency keys, exactly as Stripe's API v1 treats them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import stripe

from tests.sandbox.clients import RETURN_URL, created, eventually, new_key, stripe_client
from tests.sandbox_process import SandboxProcess


def test_the_same_request_is_replayed(bank: stripe.StripeClient) -> None:
    key = new_key()
    first = bank.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": key})
    # the order of the parameters does not matter
    second = bank.v1.payment_intents.create({"currency": "eur", "amount": 1999}, {"idempotency_key": key})
    assert second.id == first.id
    assert second.last_response is not None
    assert first.last_response is not None
    assert second.last_response.body == first.last_response.body
    assert second.last_response.headers["Idempotent-Replayed"] == "true"
    assert second.last_response.headers["Idempotency-Key"] == key
    assert second.last_response.headers["Original-Request"] == first.last_response.headers["Request-Id"]
    assert "Idempotent-Replayed" not in first.last_response.headers


def test_a_replay_answers_as_then_even_if_the_intent_has_moved_on(bank: stripe.StripeClient) -> None:
    key = new_key()
    intent = bank.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": key})
    bank.v1.payment_intents.cancel(intent.id)
    replay = bank.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": key})
    assert replay.status == "requires_payment_method"


def test_other_parameters_or_another_path_are_refused(bank: stripe.StripeClient) -> None:
    key = new_key()
    intent = bank.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": key})
    with pytest.raises(stripe.IdempotencyError, match="same parameters"):
        bank.v1.payment_intents.create({"amount": 2000, "currency": "eur"}, {"idempotency_key": key})
    with pytest.raises(stripe.IdempotencyError, match="same endpoint"):
        bank.v1.payment_intents.cancel(intent.id, {}, {"idempotency_key": key})


def test_a_decline_is_replayed(bank: stripe.StripeClient) -> None:
    intent, key = created(bank), new_key()
    charges = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            bank.v1.payment_intents.confirm(
                intent.id,
                {"payment_method": "pm_card_visa_chargeDeclined", "return_url": RETURN_URL},
                {"idempotency_key": key},
            )
        assert declined.value.error is not None
        charges.append(declined.value.error.charge)
    assert charges[0] == charges[1]
    assert len(bank.v1.charges.list({"payment_intent": intent.id}).data) == 1


def test_an_unexpected_state_is_replayed(bank: stripe.StripeClient) -> None:
    intent, key = created(bank), new_key()
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method"):
        bank.v1.payment_intents.confirm(intent.id, {"return_url": RETURN_URL}, {"idempotency_key": key})
    bank.v1.payment_intents.update(intent.id, {"payment_method": "pm_card_visa"})
    with pytest.raises(stripe.InvalidRequestError, match="missing a payment method"):
        bank.v1.payment_intents.confirm(intent.id, {"return_url": RETURN_URL}, {"idempotency_key": key})


@pytest.mark.parametrize(
    ("kind", "error"), [("error_500_before", stripe.APIError), ("error_500_after", stripe.APIError)]
)
def test_a_500_is_replayed(
    bank: stripe.StripeClient, world: SandboxProcess, kind: str, error: type[stripe.StripeError]
) -> None:
    key = new_key()
    world.add_fault("payment_intents.create", kind, times=1)
    for _ in range(2):
        with pytest.raises(error) as failed:
            bank.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": key})
        assert failed.value.http_status == 500
    assert failed.value.headers is not None
    assert failed.value.headers["Idempotent-Replayed"] == "true"
    made = [line for line in world.ledger(book="bank") if line.get("key") == key and line.get("objects")]
    assert len(made) == (1 if kind == "error_500_after" else 0)


def test_refusals_before_the_execution_are_not_saved(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    key = new_key()
    with pytest.raises(stripe.InvalidRequestError):
        bank.v1.payment_intents.create({"amount": 1, "currency": "eur"}, {"idempotency_key": key})
    world.add_fault("payment_intents.create", "rate_limit", times=1)
    with pytest.raises(stripe.RateLimitError):
        bank.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": key})
    world.add_fault("payment_intents.create", "conflict_409", times=1)
    with pytest.raises(stripe.APIError):
        bank.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": key})
    stranger = stripe_client(world, key="sk_live_1")
    with pytest.raises(stripe.AuthenticationError):
        stranger.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": key})
    made = bank.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": key})
    assert made.last_response is not None
    assert "Idempotent-Replayed" not in made.last_response.headers


def test_a_key_is_in_use_while_its_request_executes(bank: stripe.StripeClient, world: SandboxProcess) -> None:
    key = new_key()
    world.add_fault("payment_intents.create", "delay", times=1, seconds=2)

    def create() -> stripe.PaymentIntent:
        return bank.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": key})

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(create)
        eventually(lambda: world.stats()["in_flight"].get("payment_intents.create"), what="the slow request")
        with pytest.raises(stripe.APIError) as conflict:
            create()
        assert conflict.value.http_status == 409
        assert conflict.value.error is not None
        assert conflict.value.error.code == "idempotency_key_in_use"
        first = slow.result()
    assert create().id == first.id


def test_many_at_once_make_one_intent(bank: stripe.StripeClient) -> None:
    key = new_key()

    def create(_: int) -> str:
        try:
            return bank.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": key}).id
        except stripe.APIError as conflict:
            return f"refused with {conflict.http_status}"

    with ThreadPoolExecutor(16) as pool:
        ids = set(pool.map(create, range(64)))
    assert len(ids - {"refused with 409"}) == 1


def test_a_key_may_have_255_characters(bank: stripe.StripeClient) -> None:
    assert bank.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": "k" * 255})
    with pytest.raises(stripe.InvalidRequestError, match="255"):
        bank.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": "k" * 256})


def test_reads_ignore_keys(bank: stripe.StripeClient) -> None:
    intent, key = created(bank), new_key()
    bank.v1.payment_intents.retrieve(intent.id, {}, {"idempotency_key": key})
    bank.v1.payment_intents.cancel(intent.id, {}, {"idempotency_key": key})
    assert bank.v1.payment_intents.retrieve(intent.id, {}, {"idempotency_key": key}).status == "canceled"


def test_a_pruned_key_executes_anew(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path, key_ttl_seconds=0.3) as world:
        bank, key = stripe_client(world), new_key()

        def create() -> str:
            return bank.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": key}).id

        first = create()
        assert eventually(lambda: (found := create()) != first and found, what="the key's end")


def test_keys_survive_a_kill(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as world:
        bank, key, declined_key = stripe_client(world), new_key(), new_key()
        intent = bank.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": key})

        def decline() -> str:
            with pytest.raises(stripe.CardError) as declined:
                bank.v1.payment_intents.confirm(
                    intent.id,
                    {"payment_method": "pm_card_visa_chargeDeclined", "return_url": RETURN_URL},
                    {"idempotency_key": declined_key},
                )
            return str(declined.value.json_body)

        before = decline()
        world.kill()
        world.start()
        replay = bank.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, {"idempotency_key": key})
        assert replay.id == intent.id
        assert decline() == before
