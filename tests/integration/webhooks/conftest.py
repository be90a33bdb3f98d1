from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from pytest_django import DjangoDbBlocker

from tests.sandbox_process import SandboxProcess
from tests.web_process import WebProcess

if TYPE_CHECKING:
    from tests.integration.webhooks.senders import World


def outside_of_store(sandbox: SandboxProcess) -> dict[str, str]:
    """The settings that make this sandbox the store's bank and mail provider."""
    key = (sandbox.data / "sendgrid_public_key").read_text().strip()
    return {
        "STRIPE_API_BASE": sandbox.url,
        "SENDGRID_API_BASE": sandbox.url,
        "SENDGRID_WEBHOOK_PUBLIC_KEY": key,
    }


@pytest.fixture(scope="session")
def outside(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[WebProcess, SandboxProcess]]:
    """A store's web server, and a bank and mail provider that post their webhooks to it."""
    from django.conf import settings

    folder = tmp_path_factory.mktemp("webhooks")
    with WebProcess(folder / "web.log") as web:
        sandbox = SandboxProcess(
            folder / "sandbox",
            settle_seconds=0.2,
            stripe_webhook_url=f"{web.url}/webhooks/stripe/",
            stripe_webhook_secret=settings.STRIPE_WEBHOOK_SECRET[0],
            sendgrid_webhook_url=f"{web.url}/webhooks/sendgrid/",
        )
        with sandbox, django_db_blocker.unblock():
            yield web.start(**outside_of_store(sandbox)), sandbox


@pytest.fixture
def world(transactional_db: None, outside: tuple[WebProcess, SandboxProcess], settings: Any) -> Iterator["World"]:
    """The outside without faults to begin with, and this process's workers working with it."""
    from tests.integration.webhooks.senders import World  # models: only once the settings are loaded

    web, sandbox = outside
    for name, value in outside_of_store(sandbox).items():
        setattr(settings, name, value)
    settings.PAYMENT_SETTLE_SECONDS = 0.05
    sandbox.clear_faults()
    yield World(web, sandbox)
    sandbox.clear_faults()
