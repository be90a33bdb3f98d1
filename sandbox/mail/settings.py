"""The mail account's settings as its API shows them (twilio.com/docs/sendgrid/api-reference): read only."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from aiohttp import web

from sandbox.arrangements import Arrangements
from sandbox.jsons import Json

Shown = Json | list[Json] | None
Setting = tuple[str, str, str, Callable[[web.Request], Shown]]
MAX_WEBHOOKS = 5


class MailSettings:
    def __init__(self, arrangements: Arrangements) -> None:
        self._arrangements = arrangements

    def endpoints(self) -> Iterator[Setting]:
        """Yield each with its name, its path and the scope that a key needs for it."""
        yield "scopes.list", "/v3/scopes", "", self._scopes
        yield "verified_senders.list", "/v3/verified_senders", "sender_verification_eligible", self._senders
        yield "domains.list", "/v3/whitelabel/domains", "whitelabel.read", self._domains
        path = "/v3/user/webhooks/event/settings/all"
        yield "event_webhooks.list", path, "user.webhooks.event.settings.read", self._webhooks
        yield "templates.retrieve", "/v3/templates/{id}", "templates.read", self._template

    def _scopes(self, request: web.Request) -> Shown:
        return {"scopes": self._arrangements["mail_scopes"]}

    def _senders(self, request: web.Request) -> Shown:
        unsaid = dict.fromkeys(("from_name", "reply_to", "reply_to_name", "address", "city", "country"), "")
        return {
            "results": [
                {"id": number, "nickname": f"Sender {number}", **unsaid, "verified": False, "locked": False, **sender}
                for number, sender in enumerate(self._arrangements["verified_senders"], start=1)
            ]
        }

    def _domains(self, request: web.Request) -> Shown:
        usual = {"subdomain": "em1", "ips": [], "default": True, "legacy": False, "automatic_security": True}
        found = [
            {"id": number, "user_id": 1, "username": "sandbox", "valid": False, "dns": {}, **usual, **domain}
            for number, domain in enumerate(self._arrangements["domains"], start=1)
        ]
        wanted = request.query.get("domain")
        return [domain for domain in found if wanted in (None, domain["domain"])]

    def _webhooks(self, request: web.Request) -> Shown:
        """Without any, SendGrid lists one empty object."""
        found = [
            {"id": f"webhook-{number}", "enabled": False, **webhook}
            for number, webhook in enumerate(self._arrangements["event_webhooks"], start=1)
        ]
        return {"max_allowed": MAX_WEBHOOKS, "webhooks": found or [{}]}

    def _template(self, request: web.Request) -> Shown:
        wanted = request.match_info["id"]
        for template in self._arrangements["templates"]:
            if template["id"] == wanted:
                return {"name": wanted, "generation": "dynamic", "updated_at": "2026-01-01 00:00:00", **template}
        return None
