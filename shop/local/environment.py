"""The environment of a store on one machine: where its services are, and secrets made up for it alone."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Secrets:
    """Made up at the first start and kept beside the data, for sessions and logins that outlive a start."""

    django_secret_key: str
    stripe_webhook_secret: str
    operator_password: str
    payment_operator_password: str
    approver_password: str

    @classmethod
    def fresh(cls) -> Self:
        return cls(
            django_secret_key=secrets.token_urlsafe(48),
            stripe_webhook_secret=f"whsec_{secrets.token_hex(24)}",
            operator_password=secrets.token_urlsafe(9),
            payment_operator_password=secrets.token_urlsafe(9),
            approver_password=secrets.token_urlsafe(9),
        )

    @classmethod
    def kept_in(cls, file: Path) -> Self:
        """Those of the file; what an older one does not know yet is made up and added."""
        kept = json.loads(file.read_text()) if file.exists() else {}
        made = cls(**{**asdict(cls.fresh()), **kept})
        if asdict(made) != kept:
            write_private(file, json.dumps(asdict(made), indent=2) + "\n")
        return made


def store_environment(
    *, secrets: Secrets, database_url: str, store_address: str, sandbox_address: str, sendgrid_public_key: str
) -> dict[str, str]:
    """Production's settings, but for HTTPS, with the sandbox in the place of bank, mail provider and screening
    service; about half of the simulated orders are screened."""
    return {
        "DATABASE_URL": database_url,
        "DJANGO_SECRET_KEY": secrets.django_secret_key,
        "DJANGO_DEBUG": "0",
        "DJANGO_ALLOWED_HOSTS": "127.0.0.1,localhost",
        "STORE_HTTPS": "0",
        "STORE_ADDRESS": store_address,
        "STORE_CURRENCY": "EUR",
        "SCREENING_URL": f"{sandbox_address}/screening",
        "SCREENING_API_KEY": "scr_sandbox",
        "SCREENING_ABOVE": "15000",
        "STRIPE_SECRET_KEY": "sk_test_sandbox",
        "STRIPE_PUBLISHABLE_KEY": "pk_test_sandbox",
        "STRIPE_API_BASE": sandbox_address,
        "STRIPE_JS_URL": f"{sandbox_address}/js/v3/",
        "STRIPE_WEBHOOK_SECRET": secrets.stripe_webhook_secret,
        "SENDGRID_API_KEY": "SG.sandbox",
        "SENDGRID_API_BASE": sandbox_address,
        "SENDGRID_WEBHOOK_PUBLIC_KEY": sendgrid_public_key,
        "MAIL_FROM": "orders@store.example",
        # All shoppers of one machine come from one address, and some hundreds of them at once.
        "CARD_TRIES_PER_ADDRESS": "0",
        "CARD_TRIES_GLOBAL": "0",
        # The sandbox has no limit of its own.
        "PAYMENT_CALLS_PER_SECOND": "0",
    }


def write_environment_file(file: Path, environment: Mapping[str, str]) -> None:
    write_private(file, "".join(f"{name}={value}\n" for name, value in environment.items()))


def write_private(file: Path, text: str) -> None:
    """Readable by nobody else from its first byte on."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)
