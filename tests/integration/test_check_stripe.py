"""check_stripe against a bank whose owner has arranged things rightly or wrongly, over HTTP."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command

from payments.gateways.notices import TYPES
from payments.models import BankEvent
from tests.integration.accounts import findings, notes, troubles
from tests.sandbox.clients import created, stripe_client
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.django_db

OURS = "https://store.example/webhooks/stripe/"
ENDPOINT = {"url": OURS, "enabled_events": list(TYPES)}
ALL = [
    "payment_intent_write",
    "charge_write",
    "dispute_read",
    "event_read",
    "webhook_read",
    "accounts_kyc_id_numbers_read",
]


@pytest.fixture(autouse=True)
def bank(sandbox: SandboxProcess, settings: Any) -> Iterator[SandboxProcess]:
    """All is right, and one payment is there to compare the keys with."""
    settings.STRIPE_API_BASE = sandbox.url
    settings.STORE_ADDRESS = "https://store.example"
    settings.STRIPE_WEBHOOK_SECRET = ["whsec_0123456789abcdefghijklmnopqrstuv"]
    settings.PAYMENT_READ_TIMEOUT = 1.0
    settings.PAYMENT_CALL_DEADLINE = 2.0
    sandbox.clear_faults()
    sandbox.arrange(webhook_endpoints=[ENDPOINT])
    created(stripe_client(sandbox))
    yield sandbox
    sandbox.clear_faults()
    sandbox.control("DELETE", "arrangements")


def test_all_is_right(bank: SandboxProcess) -> None:
    before = len(bank.ledger(book="bank"))
    status, found = findings("check_stripe")
    assert (status, {each["verdict"] for each in found}) == (0, {"right", "note"})
    assert {each["about"] for each in found if each["verdict"] == "right"} == {
        *("secret key", "publishable key", "clock", "API version", "account", "currency", "permissions"),
        "webhook endpoint",
    }
    assert not [line for line in bank.ledger(book="bank")[before:] if "objects" in line], "something was created"


def test_the_table_says_it_in_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("check_stripe")
    shown = capsys.readouterr().out
    assert "Stripe accepts STRIPE_SECRET_KEY." in shown
    assert "0 wrong, 0 not asked" in shown


@pytest.mark.parametrize(
    ("name", "value", "arguments", "said"),
    [
        ("STRIPE_SECRET_KEY", "", (), "wrong secret key: STRIPE_SECRET_KEY is not set."),
        (
            "STRIPE_SECRET_KEY",
            "pk_test_x",
            (),
            "wrong secret key: STRIPE_SECRET_KEY is no secret key: it begins with pk_.",
        ),
        ("STRIPE_SECRET_KEY", "sk_live_x", (), "is a live key, and this store is not meant to move real money"),
        ("STRIPE_SECRET_KEY", "rk_test_revoked", (), "Stripe refuses STRIPE_SECRET_KEY: Invalid API Key provided"),
        ("STRIPE_SECRET_KEY", "sk_test_sandbox", ("--expect", "live"), "STRIPE_SECRET_KEY is a test key"),
        ("STRIPE_PUBLISHABLE_KEY", "", (), "wrong publishable key: STRIPE_PUBLISHABLE_KEY is not set."),
        ("STRIPE_PUBLISHABLE_KEY", "pk_live_x", (), "STRIPE_PUBLISHABLE_KEY is a live key"),
        ("STRIPE_PUBLISHABLE_KEY", "pk_test_wrong!", (), "Stripe refuses STRIPE_PUBLISHABLE_KEY"),
        ("STRIPE_PUBLISHABLE_KEY", "pk_test_other", (), "It is of another account or mode than the secret key"),
        ("STRIPE_WEBHOOK_SECRET", [], (), "STRIPE_WEBHOOK_SECRET is not set"),
        ("STRIPE_WEBHOOK_SECRET", ["whsec_short"], (), "STRIPE_WEBHOOK_SECRET is no signing secret"),
        ("STRIPE_WEBHOOK_SECRET", ["we_0123456789abcdefghijklmnopqrstuv"], (), "is no signing secret"),
        ("STORE_CURRENCY", "CHF", (), "wrong currency: An account in US cannot charge in CHF."),
        (
            "STORE_ADDRESS",
            "https://shop.example",
            (),
            f"no endpoint with our address https://shop.example/webhooks/stripe/. It has: {OURS}",
        ),
    ],
)
def test_a_wrong_setting(
    bank: SandboxProcess, settings: Any, name: str, value: Any, arguments: tuple[str, ...], said: str
) -> None:
    setattr(settings, name, value)
    bank.arrange(foreign_keys=["pk_test_other"])
    status, bad = troubles("check_stripe", *arguments)
    assert status == 1
    assert any(said in each for each in bad), bad


@pytest.mark.parametrize(
    ("arranged", "said"),
    [
        ({"account": {"charges_enabled": False}}, "Account acct_sandbox may not charge yet."),
        ({"account": {"capabilities": {"card_payments": "pending"}}}, "Its card payments are pending."),
        ({"webhook_endpoints": []}, "It has: none at all."),
        ({"webhook_endpoints": [{**ENDPOINT, "status": "disabled"}]}, "it is disabled"),
        (
            {"webhook_endpoints": [{**ENDPOINT, "enabled_events": ["refund.failed"]}]},
            "does not listen to payment_intent.succeeded, ",
        ),
        ({"webhook_endpoints": [ENDPOINT, ENDPOINT]}, "Stripe has 2 endpoints with our address"),
        ({"clock_offset": -400}, "s ahead of Stripe's."),
        ({"clock_offset": 60}, "s behind Stripe's."),
        ({"api_version": "2019-01-01"}, "Stripe answers as version 2019-01-01"),
        ({"currencies": ["usd"]}, "cannot charge in EUR"),
    ],
)
def test_a_wrong_arrangement(bank: SandboxProcess, arranged: dict[str, Any], said: str) -> None:
    bank.arrange(**arranged)
    status, bad = troubles("check_stripe")
    assert (status, len(bad)) == (1, 1), bad
    assert said in bad[0]


def restricted(bank: SandboxProcess, settings: Any, *permissions: str) -> None:
    settings.STRIPE_SECRET_KEY = "rk_test_ours"
    bank.arrange(restricted_keys={"rk_test_ours": [f"rak_{each}" for each in permissions]})


def test_a_restricted_key_that_may_do_all(bank: SandboxProcess, settings: Any) -> None:
    restricted(bank, settings, *ALL)
    assert troubles("check_stripe") == (0, [])


@pytest.mark.parametrize(
    ("permission", "said"),
    [
        ("payment_intent_write", ["may not read payments", "may not write payments"]),
        ("charge_write", ["may not read refunds", "may not write refunds"]),
        ("dispute_read", ["may not read disputes"]),
        ("event_read", ["may not read events"]),
    ],
)
def test_a_restricted_key_that_lacks_a_permission(
    bank: SandboxProcess, settings: Any, permission: str, said: list[str]
) -> None:
    restricted(bank, settings, *(each for each in ALL if each != permission))
    status, found = findings("check_stripe")
    bad = [each for each in found if each["verdict"] == "wrong"]
    assert status == 1
    assert [each["says"] for each in bad] == [f"The restricted key {each}." for each in said]
    assert all(permission.partition("_")[0] in each["todo"] for each in bad)


def test_what_a_restricted_key_may_not_ask_is_said_to_be_unknown(bank: SandboxProcess, settings: Any) -> None:
    restricted(bank, settings, *(each for each in ALL if each not in ("webhook_read", "accounts_kyc_id_numbers_read")))
    status, bad = troubles("check_stripe")
    assert status == 2
    assert [each.partition(":")[0] for each in bad] == ["unasked account", "unasked webhook endpoint"]


@pytest.mark.parametrize("kind", ["refuse", "rate_limit", "error_500_before", "malformed_body", "drop_before", "reset"])
def test_a_bank_that_does_not_answer(bank: SandboxProcess, kind: str) -> None:
    bank.add_fault("accounts.retrieve", kind)
    status, bad = troubles("check_stripe")
    assert (status, len(bad)) == (2, 1)
    assert bad[0].startswith("unasked Stripe: Stripe could not be asked")


def test_a_bank_that_answers_too_slowly(bank: SandboxProcess) -> None:
    bank.add_fault("accounts.retrieve", "delay", seconds=5)
    assert troubles("check_stripe")[0] == 2


def test_one_unanswered_question_leaves_the_others(bank: SandboxProcess) -> None:
    bank.add_fault("bank", "error_500_before", match="/v1/webhook_endpoints")
    status, bad = troubles("check_stripe")
    assert (status, len(bad)) == (2, 1)
    assert "did not list its endpoints" in bad[0]


def test_what_nobody_can_verify_is_said(bank: SandboxProcess) -> None:
    assert "Stripe shows a signing secret only once" in notes("check_stripe")
    assert "No verified webhook has come yet" in notes("check_stripe")
    BankEvent.objects.create(
        event_id="evt_1",
        type="refund.created",
        livemode=False,
        created=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        due_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    )
    assert "The last webhook that was verified with it came on" in notes("check_stripe")
