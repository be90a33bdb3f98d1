from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import stripe

from tests.sandbox.clients import stripe_client
from tests.sandbox_process import SandboxProcess

if TYPE_CHECKING:
    from tests.integration.payments.scene import Scene


@pytest.fixture
def scene(transactional_db: None, sandbox: SandboxProcess, settings: Any) -> Iterator["Scene"]:
    """Payments and workers against a real sandbox bank, without faults to begin with."""
    from tests.integration.payments.scene import Scene  # models: only once the settings are loaded

    settings.STRIPE_API_BASE = sandbox.url
    settings.PAYMENT_SETTLE_SECONDS = 0.05
    settings.PAYMENT_READ_TIMEOUT = 1.0
    settings.PAYMENT_CALL_DEADLINE = 2.0
    sandbox.clear_faults()
    yield Scene(sandbox)
    sandbox.clear_faults()


@pytest.fixture
def bank(tmp_path: Path, settings: Any, scene: "Scene") -> Iterator[stripe.StripeClient]:
    """A bank of the test's own, which forgets idempotency keys within a second: what is sent again is done again."""
    with SandboxProcess(tmp_path / "bank", key_ttl_seconds=0.5, settle_seconds=0.1) as own:
        settings.STRIPE_API_BASE = own.url
        scene.sandbox = own
        yield stripe_client(own)
