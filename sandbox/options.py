"""What the sandbox can be told at its start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of one sandbox process. Durations are in seconds."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 0
    control_port: int = 0
    stripe_webhook_url: str | None = None
    stripe_webhook_secret: str | None = None
    sendgrid_webhook_url: str | None = None
    key_ttl_seconds: float = 86_400
    """Stripe may prune an idempotency key once it is 24 hours old."""
    settle_seconds: float = 2
    """After how long a pending refund succeeds, a doomed one fails, a dispute opens, a mail arrives."""
    screening_seconds: float = 1
    """How long a new check of an order takes."""
    rate_limit: int | None = None
    """Requests a second to the bank; None: no limit."""
