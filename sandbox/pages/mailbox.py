"""The mails that were accepted, to read."""

from __future__ import annotations

from aiohttp import web

from sandbox.jsons import Json
from sandbox.ledger import Ledger
from sandbox.mail.mailbox import Mailbox, status, substituted
from sandbox.pages.rendering import HEADERS, missing, page, policy

PAGE_SIZE = 100
MAIL_POLICY = (
    policy(style_src="'unsafe-inline'", img_src="data:", frame_ancestors="'self'")
    + "; sandbox allow-popups allow-popups-to-escape-sandbox"
)
"""For the mail's own HTML: its inline styles are shown, but nothing runs, loads or reports; links open a tab."""


class MailboxPages:
    """`/mailbox/`."""

    def __init__(self, *, mailbox: Mailbox, ledger: Ledger) -> None:
        self._mailbox = mailbox
        self._ledger = ledger

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/mailbox/", self._list)
        app.router.add_get("/mailbox/{id}", self._message)
        app.router.add_get("/mailbox/{id}/html", self._html)

    async def _list(self, request: web.Request) -> web.Response:
        sought = request.query.get("to", "").strip().lower()
        found: list[Json] = []
        for message in reversed(self._mailbox.messages.values()):
            if sought in message["to_email"].lower():
                found.append({**message, "status": status(message)})
            if len(found) == PAGE_SIZE:
                break
        return page("mailbox.html", messages=found, sought=sought, total=len(self._mailbox.messages))

    async def _message(self, request: web.Request) -> web.Response:
        message = self._mailbox.messages.get(request.match_info["id"])
        if message is None:
            return missing("This message")
        parts = await self._parts(message)
        view = request.query.get("view", "html" if "text/html" in parts else "text")
        mail = await self._mail(message)
        return page(
            "message_view.html",
            message={**message, "status": status(message)},
            parts=parts,
            view=view,
            attachments=[item["filename"] for item in mail.get("attachments") or []],
        )

    async def _html(self, request: web.Request) -> web.Response:
        message = self._mailbox.messages.get(request.match_info["id"])
        parts = {} if message is None else await self._parts(message)
        if "text/html" not in parts:
            return missing("This message")
        return web.Response(
            text=f'<!doctype html><base target="_blank">{parts["text/html"]}',
            content_type="text/html",
            headers={**HEADERS, "Content-Security-Policy": MAIL_POLICY},
        )

    async def _mail(self, message: Json) -> Json:
        """Return the mail as it was sent, from the ledger."""
        await self._ledger.durable(message["line"])
        line = self._ledger.line(message["line"])
        mail: Json = line["mail"] if line is not None else {}
        return mail

    async def _parts(self, message: Json) -> dict[str, str]:
        """Return the mail's contents by their type, as this recipient sees them."""
        mail = await self._mail(message)
        return {
            part["type"]: substituted(part["value"], message["substitutions"]) for part in mail.get("content") or []
        }
