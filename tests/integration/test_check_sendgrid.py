"""check_sendgrid against a mail provider whose owner has arranged things rightly or wrongly, over HTTP."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import PUBLIC_KEY
from tests.integration.accounts import findings, notes, troubles
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.django_db

OURS = "https://store.example/webhooks/sendgrid/"
EVENTS = dict.fromkeys(("processed", "delivered", "bounce", "dropped", "deferred"), True)
WEBHOOK = {"url": OURS, "enabled": True, "public_key": PUBLIC_KEY, **EVENTS}
SENDER = {"from_email": "orders@store.example", "verified": True}
TEMPLATE = {"id": "d-1", "versions": [{"active": 0}, {"active": 1}]}


@pytest.fixture(autouse=True)
def provider(sandbox: SandboxProcess, settings: Any) -> Iterator[SandboxProcess]:
    settings.SENDGRID_API_BASE = sandbox.url
    settings.STORE_ADDRESS = "https://store.example"
    settings.SENDGRID_WEBHOOK_PUBLIC_KEY = PUBLIC_KEY
    settings.SENDGRID_TEMPLATES = {"order_confirmed": "d-1"}
    settings.MAIL_TIMEOUT = 1.0
    sandbox.clear_faults()
    sandbox.arrange(
        event_webhooks=[WEBHOOK], domains=[{"domain": "store.example", "valid": True}], templates=[TEMPLATE]
    )
    yield sandbox
    sandbox.clear_faults()
    sandbox.control("DELETE", "arrangements")


def test_all_is_right(provider: SandboxProcess) -> None:
    before = len(provider.ledger(book="mail"))
    status, found = findings("check_sendgrid")
    assert (status, {each["verdict"] for each in found}) == (0, {"right", "note"})
    assert {each["about"] for each in found if each["verdict"] == "right"} == {
        *("API key", "clock", "sender", "event webhook", "templates"),
    }
    assert len(provider.ledger(book="mail")) == before, "a mail was sent"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SENDGRID_API_KEY", "", "SENDGRID_API_KEY is not set."),
        ("SENDGRID_API_KEY", "sk_test_x", "is no key of SendGrid's"),
        ("SENDGRID_WEBHOOK_PUBLIC_KEY", "", "SENDGRID_WEBHOOK_PUBLIC_KEY is not set"),
        ("SENDGRID_WEBHOOK_PUBLIC_KEY", "rubbish", "SENDGRID_WEBHOOK_PUBLIC_KEY is no public key"),
        (
            "STORE_ADDRESS",
            "https://shop.example",
            f"no event webhook with our address https://shop.example/webhooks/sendgrid/. It has: {OURS}",
        ),
        ("MAIL_FROM", "orders@shop.example", "orders@shop.example, which is not known to SendGrid"),
        ("SENDGRID_TEMPLATES", {"order_confirmed": "d-2"}, "SendGrid has no template d-2 (order_confirmed)"),
        ("SENDGRID_TEMPLATES", {"order_confirmd": "d-1"}, "the store writes no such mail"),
    ],
)
def test_a_wrong_setting(settings: Any, name: str, value: Any, said: str) -> None:
    setattr(settings, name, value)
    status, bad = troubles("check_sendgrid")
    assert status == 1
    assert any(said in each for each in bad), bad


@pytest.mark.parametrize(
    ("arranged", "said"),
    [
        (
            {
                "mail_scopes": [
                    "sender_verification_eligible",
                    "whitelabel.read",
                    "user.webhooks.event.settings.read",
                    "templates.read",
                ]
            },
            "it may not send mail",
        ),
        ({"domains": [], "verified_senders": []}, "is not known to SendGrid"),
        ({"domains": [], "verified_senders": [{**SENDER, "verified": False}]}, "is not verified yet"),
        ({"event_webhooks": []}, "It has: none at all."),
        ({"event_webhooks": [{**WEBHOOK, "enabled": False}]}, "but it is off"),
        ({"event_webhooks": [{**WEBHOOK, "delivered": False, "bounce": False}]}, "does not tell of delivered, bounce"),
        ({"event_webhooks": [{**WEBHOOK, "public_key": ""}]}, "It is not signed"),
        ({"event_webhooks": [{**WEBHOOK, "public_key": "another"}]}, "signed with another key"),
        ({"templates": [{**TEMPLATE, "versions": []}]}, "has no active version"),
        ({"templates": [{**TEMPLATE, "generation": "legacy"}]}, "is a legacy one"),
        ({"clock_offset": 3600}, "s behind SendGrid's."),
    ],
)
def test_a_wrong_arrangement(provider: SandboxProcess, arranged: dict[str, Any], said: str) -> None:
    provider.arrange(**arranged)
    status, bad = troubles("check_sendgrid")
    assert (status, len(bad)) == (1, 1), bad
    assert said in bad[0]


def test_a_verified_address_is_enough(provider: SandboxProcess) -> None:
    provider.arrange(domains=[{"domain": "store.example", "valid": False}], verified_senders=[SENDER])
    assert troubles("check_sendgrid") == (0, [])
    assert "has not found its DNS records" in notes("check_sendgrid")


def test_what_the_key_may_not_ask_is_said_to_be_unknown(provider: SandboxProcess) -> None:
    provider.arrange(mail_scopes=["mail.send"])
    status, bad = troubles("check_sendgrid")
    assert status == 2
    assert [each.partition(":")[0] for each in bad] == ["unasked sender", "unasked event webhook", "unasked templates"]
    assert "check_money cannot compare the mails" in notes("check_sendgrid")


def test_a_refused_key(settings: Any, provider: SandboxProcess) -> None:
    provider.arrange(mail_keys=["SG.good"])
    status, bad = troubles("check_sendgrid")
    assert (status, len(bad)) == (1, 1)
    assert "SendGrid refuses SENDGRID_API_KEY" in bad[0]


@pytest.mark.parametrize("kind", ["refuse", "rate_limit", "error_500_before", "malformed_body", "drop_before", "reset"])
def test_a_provider_that_does_not_answer(provider: SandboxProcess, kind: str) -> None:
    provider.add_fault("scopes.list", kind)
    status, bad = troubles("check_sendgrid")
    assert (status, len(bad)) == (2, 1)
    assert bad[0].startswith("unasked SendGrid: SendGrid could not be asked")


def test_a_provider_that_answers_too_slowly(provider: SandboxProcess) -> None:
    provider.add_fault("scopes.list", "delay", seconds=5)
    assert troubles("check_sendgrid")[0] == 2
