"""A real sandbox process, spoken to over HTTP through the official SDKs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import stripe
from sendgrid import SendGridAPIClient

from tests.sandbox.clients import SETTLE_SECONDS, mail_client, stripe_client
from tests.sandbox_process import SandboxProcess


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    with SandboxProcess(
        tmp_path_factory.mktemp("sandbox"), settle_seconds=SETTLE_SECONDS, screening_seconds=0.05
    ) as process:
        yield process


@pytest.fixture
def world(running: SandboxProcess) -> Iterator[SandboxProcess]:
    """The shared sandbox, without faults before and after."""
    running.clear_faults()
    yield running
    running.clear_faults()


@pytest.fixture
def bank(world: SandboxProcess) -> stripe.StripeClient:
    return stripe_client(world)


@pytest.fixture
def mail(world: SandboxProcess) -> SendGridAPIClient:
    return mail_client(world)
