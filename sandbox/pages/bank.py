"""The bank's ledger to look at: all intents, and everything that happened to one."""

from __future__ import annotations

from aiohttp import web

from sandbox.bank.bank import Bank
from sandbox.bank.errors import ApiError
from sandbox.jsons import Json
from sandbox.ledger import Ledger
from sandbox.loopback import check_own_page
from sandbox.pages.rendering import missing, page

PAGE_SIZE = 50
MAX_LINES = 200
"""An intent that was read again and again shows its latest lines."""


class BankPages:
    """`/bank/`."""

    def __init__(self, *, bank: Bank, ledger: Ledger) -> None:
        self._bank = bank
        self._ledger = ledger

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/bank/", self._list)
        app.router.add_get("/bank/{id}", self._detail)
        app.router.add_post("/bank/disputes/{id}/close", self._close_dispute)

    async def _list(self, request: web.Request) -> web.Response:
        tables = self._bank.books.tables
        after = request.query.get("after")
        if after is not None and after not in tables["payment_intent"]:
            return missing(f"Payment {after}")
        found = tables["payment_intent"].page(limit=PAGE_SIZE, starting_after=after)
        rows = [
            {
                "intent": intent,
                "refunds": tables["refund"].where("payment_intent", intent["id"]),
                "disputes": tables["dispute"].where("payment_intent", intent["id"]),
                **_keys_in(self._lines(intent["id"])),
            }
            for intent in found.data
        ]
        return page(
            "bank.html",
            rows=rows,
            net=sorted(self._bank.books.net.items()),
            older=found.data[-1]["id"] if found.has_more else None,
            newest=after is None,
        )

    async def _detail(self, request: web.Request) -> web.Response:
        tables = self._bank.books.tables
        intent = tables["payment_intent"].get(request.match_info["id"])
        if intent is None:
            return missing(f"Payment {request.match_info['id']}")
        lines = self._lines(intent["id"])
        keys = _keys_in(lines)
        return page(
            "intent.html",
            intent=intent,
            charges=tables["charge"].where("payment_intent", intent["id"]),
            refunds=tables["refund"].where("payment_intent", intent["id"]),
            disputes=tables["dispute"].where("payment_intent", intent["id"]),
            lines=lines,
            keys=keys["keys"],
            replays=keys["replays"],
        )

    async def _close_dispute(self, request: web.Request) -> web.Response:
        check_own_page(request)
        result = (await request.post()).get("result")
        try:
            closed = await self._bank.close_dispute(
                request.match_info["id"], result="won" if result == "won" else "lost"
            )
        except ApiError as error:
            return page("message.html", status=error.status, title="Not closed", text=str(error))
        raise web.HTTPSeeOther(f"/bank/{closed['payment_intent']}")

    def _lines(self, intent_id: str) -> list[Json]:
        numbers = self._bank.trail.get(intent_id, [])[-MAX_LINES:]
        return [line for number in numbers if (line := self._ledger.line(number)) is not None]


def _keys_in(lines: list[Json]) -> dict[str, int]:
    """Return how many idempotency keys were used, and how many answers were replayed."""
    return {
        "keys": len({line["key"] for line in lines if "key" in line}),
        "replays": sum("replayed" in line for line in lines),
    }
