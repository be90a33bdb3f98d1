"""The mail provider's HTTP side: credentials and validation."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

from aiohttp import web

from sandbox.answers import Answer
from sandbox.arrangements import Arrangements
from sandbox.calls import Calls, Endpoint
from sandbox.faults import Faults, Rule
from sandbox.jsons import Json, dumps
from sandbox.ledger import Ledger
from sandbox.mail.mailbox import Mailbox, status
from sandbox.mail.query import QueryError, parse
from sandbox.mail.rules import error, errors_in
from sandbox.mail.settings import MailSettings
from sandbox.stats import Stats

MAX_MESSAGES = 1000
"""SendGrid's limit of one page of the Email Activity API."""


class MailApi:
    """Answers the calls under `/v3/`."""

    def __init__(
        self, *, mailbox: Mailbox, ledger: Ledger, faults: Faults, stats: Stats, arrangements: Arrangements
    ) -> None:
        self._mailbox = mailbox
        self._arrangements = arrangements
        self._ledger = ledger
        self._calls = Calls(
            group="mail",
            faults=faults,
            stats=stats,
            refusal=self._refusal,
            error=lambda status, message: _errors(status, [error(message)]),
        )

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/v3/mail/send", self._calls.handler("mail.send", self._send))
        app.router.add_get("/v3/messages", self._calls.handler("messages.list", self._list))
        app.router.add_get("/v3/messages/{id}", self._calls.handler("messages.retrieve", self._retrieve))
        settings = MailSettings(self._arrangements)
        for name, path, scope, endpoint in settings.endpoints():
            app.router.add_get(path, self._calls.handler(name, self._scoped(scope, endpoint)))

    async def _send(self, request: web.Request, fault: Rule | None) -> Answer:
        line: Json = {"op": "mail.send"} | ({"fault": str(fault.kind)} if fault else {})
        if request.content_type != "application/json":
            return _errors(415, [error("Content-Type should be application/json.")])
        try:
            mail = json.loads(await request.text())
        except ValueError:
            mail = None
        errors = errors_in(mail)
        if errors:
            refusal = self._mailbox.commit({**line, "status": 400, "answer": {"errors": errors}})
            await self._ledger.durable(refusal["n"])
            return _errors(400, errors)
        if (mail.get("mail_settings") or {}).get("sandbox_mode", {}).get("enable"):
            return Answer(status=200)  # SendGrid's own sandbox mode: validated, not sent
        accepted = self._mailbox.accept(mail, line={**line, "status": 202})
        await self._ledger.durable(accepted["n"])
        self._mailbox.send_webhooks(accepted["events"])
        return Answer(status=202, headers={"X-Message-Id": accepted["message_id"]})

    async def _list(self, request: web.Request, fault: Rule | None) -> Answer:
        try:
            limit = int(request.query.get("limit", "10"))
            wanted = parse(request.query.get("query", ""))
        except (QueryError, ValueError) as problem:
            return _errors(400, [error(str(problem), "query")])
        if not 1 <= limit <= MAX_MESSAGES:
            return _errors(400, [error(f"limit must be between 1 and {MAX_MESSAGES}", "limit")])
        seen = self._ledger.last
        found: list[Json] = []
        for message in reversed(self._mailbox.messages.values()):
            if wanted(message):
                found.append(_summary(message))
            if len(found) == limit:
                break
        await self._ledger.durable(seen)
        return Answer(status=200, body=dumps({"messages": found}))

    async def _retrieve(self, request: web.Request, fault: Rule | None) -> Answer:
        message = self._mailbox.messages.get(request.match_info["id"])
        if message is None:
            return _errors(404, [error("not found")])
        await self._ledger.durable(self._ledger.last)
        events = [
            {
                "event_name": event["event"],
                "processed": _iso(event["timestamp"]),
                "reason": event.get("reason", ""),
            }
            for event in message["events"]
        ]
        return Answer(status=200, body=dumps({**_summary(message), "events": events}))

    def _refusal(self, request: web.Request) -> Answer | None:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        accepted = self._arrangements["mail_keys"]
        if scheme.lower() == "bearer" and (key.startswith("SG.") if accepted is None else key in accepted):
            return None
        return _errors(401, [error("The provided authorization grant is invalid, expired, or revoked")])

    def _scoped(self, scope: str, endpoint: Callable[[web.Request], Json | list[Json] | None]) -> Endpoint:
        """An endpoint that only a key with the scope may read; None is answered with 404."""

        async def answer(request: web.Request, fault: Rule | None) -> Answer:
            if scope and scope not in self._arrangements["mail_scopes"]:
                return _errors(403, [error("access forbidden")])
            found = endpoint(request)
            return _errors(404, [error("not found")]) if found is None else Answer(status=200, body=dumps(found))

        return answer


def _errors(code: int, errors: list[Json]) -> Answer:
    return Answer(status=code, body=dumps({"errors": errors}))


def _summary(message: Json) -> Json:
    """Return the message in the Email Activity API's shape, with its custom arguments besides."""
    shown = ("msg_id", "from_email", "to_email", "subject", "template_id", "categories", "custom_args")
    return {
        **{name: message[name] for name in shown},
        "status": status(message),
        "opens_count": 0,
        "clicks_count": 0,
        "last_event_time": _iso(message["events"][-1]["timestamp"]),
    }


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
