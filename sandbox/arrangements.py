"""What the owner of the two accounts has arranged at the bank and at the mail provider: keys and what they may do,
webhook endpoints, senders, templates. Read-only for the providers' own APIs; `/_control/arrangements` changes it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from sandbox.jsons import Json
from sandbox.options import Options

SENDER = "orders@store.example"
MAIL_EVENTS = (
    *("processed", "dropped", "delivered", "deferred", "bounce"),
    *("open", "click", "spam_report", "unsubscribe", "group_unsubscribe", "group_resubscribe"),
)
MAIL_SCOPES = (
    *("mail.send", "messages.read", "templates.read", "templates.versions.read"),
    *("user.webhooks.event.settings.read", "whitelabel.read", "sender_verification_eligible"),
)


class ArrangementError(ValueError):
    """There is no such arrangement."""


class Arrangements:
    """One JSON object by name:

    - `restricted_keys`: what each `rk_test_…` may do, as in {"rk_test_1": ["rak_payment_intent_write"]}
    - `foreign_keys`: publishable keys of somebody else's account
    - `account`: fields of the bank's account that differ from the usual
    - `currencies`: what the account's country can charge
    - `webhook_endpoints`: the bank's, with url, enabled_events and status
    - `api_version`: how the bank says it answers; null: as it was asked
    - `mail_scopes`, `verified_senders`, `domains`, `event_webhooks`, `templates`: the mail provider's
    - `mail_keys`: the only keys that the mail provider accepts; null: any `SG.…`
    - `clock_offset`: seconds that both providers' clocks are ahead
    """

    def __init__(self, *, options: Options, mail_public_key: str) -> None:
        self._usual: Json = {
            "restricted_keys": {},
            "foreign_keys": [],
            "account": {},
            "currencies": ["eur", "gbp", "jpy", "sek", "usd"],
            "webhook_endpoints": [
                {"url": url, "enabled_events": ["*"], "status": "enabled"}
                for url in [options.stripe_webhook_url]
                if url
            ],
            "api_version": None,
            "mail_scopes": list(MAIL_SCOPES),
            "verified_senders": [{"from_email": SENDER, "verified": True}],
            "domains": [],
            "event_webhooks": [
                {"url": url, "enabled": True, "public_key": mail_public_key, **dict.fromkeys(MAIL_EVENTS, True)}
                for url in [options.sendgrid_webhook_url]
                if url
            ],
            "templates": [],
            "mail_keys": None,
            "clock_offset": 0,
        }
        self._now = deepcopy(self._usual)

    def __getitem__(self, name: str) -> Any:
        return self._now[name]

    def as_json(self) -> Json:
        return self._now

    def change(self, values: Json) -> None:
        """Replace the named ones. Raises ArrangementError."""
        if strangers := values.keys() - self._usual.keys():
            raise ArrangementError(f"no arrangements: {', '.join(sorted(strangers))}")
        self._now.update(deepcopy(values))

    def reset(self) -> None:
        self._now = deepcopy(self._usual)
