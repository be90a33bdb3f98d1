"""The control endpoint `/_control/`: faults, ledger, counts, the accounts' arrangements, and the acts of the card's
bank."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from sandbox.arrangements import Arrangements
from sandbox.bank.bank import Bank
from sandbox.bank.errors import ApiError
from sandbox.faults import FaultRuleError, Faults
from sandbox.ledger import Ledger
from sandbox.loopback import check_program
from sandbox.stats import Stats

MAX_LINES = 10_000


class Control:
    """Answers programs on this machine; web pages cannot use it."""

    def __init__(
        self,
        *,
        bank: Bank,
        ledger: Ledger,
        faults: Faults,
        stats: Stats,
        arrangements: Arrangements,
        apply_faults: Callable[[web.Request], Awaitable[None]],
    ) -> None:
        self._bank = bank
        self._ledger = ledger
        self._faults = faults
        self._stats = stats
        self._arrangements = arrangements
        self._apply_faults = apply_faults

    def add_routes(self, app: web.Application) -> None:
        for method, path, endpoint in (
            ("GET", "/_control/faults", self._list_faults),
            ("POST", "/_control/faults", self._add_faults),
            ("DELETE", "/_control/faults", self._clear_faults),
            ("DELETE", "/_control/faults/{id}", self._remove_fault),
            ("GET", "/_control/ledger", self._read_ledger),
            ("GET", "/_control/stats", self._read_stats),
            ("GET", "/_control/arrangements", self._list_arrangements),
            ("PATCH", "/_control/arrangements", self._change_arrangements),
            ("DELETE", "/_control/arrangements", self._reset_arrangements),
            ("POST", "/_control/disputes/{id}/close", self._close_dispute),
        ):
            app.router.add_route(method, path, _guarded(endpoint))

    async def _list_faults(self, request: web.Request) -> web.Response:
        return web.json_response({"faults": [rule.as_json() for rule in self._faults.rules()]})

    async def _add_faults(self, request: web.Request) -> web.Response:
        """Add one rule, or several as `{"faults": [...]}`; answer them with their ids."""
        values = await _body(request)
        try:
            rules = [self._faults.add(value) for value in values.get("faults", [values])]
        except FaultRuleError as error:
            return web.json_response({"error": str(error)}, status=400)
        await self._apply_faults(request)
        answer = web.json_response({"faults": [rule.as_json() for rule in rules]}, status=201)
        if self._faults.down():
            answer.force_close()
        return answer

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._faults.clear()
        await self._apply_faults(request)
        return web.Response(status=204)

    async def _remove_fault(self, request: web.Request) -> web.Response:
        found = self._faults.remove(int(request.match_info["id"]))
        await self._apply_faults(request)
        return web.Response(status=204 if found else 404)

    async def _read_ledger(self, request: web.Request) -> web.Response:
        """Answer the durable lines of all books after `after`, at most `limit`, oldest first."""
        after = int(request.query.get("after", "0"))
        limit = min(int(request.query.get("limit", "1000")), MAX_LINES)
        await self._ledger.durable(self._ledger.last)
        lines = self._ledger.lines(after=after, limit=limit)
        through = lines[-1]["n"] if lines else after
        return web.json_response({"lines": lines, "through": through, "last": self._ledger.last})

    async def _read_stats(self, request: web.Request) -> web.Response:
        return web.json_response(self._stats.as_json())

    async def _list_arrangements(self, request: web.Request) -> web.Response:
        return web.json_response(self._arrangements.as_json())

    async def _change_arrangements(self, request: web.Request) -> web.Response:
        self._arrangements.change(await _body(request))
        return await self._list_arrangements(request)

    async def _reset_arrangements(self, request: web.Request) -> web.Response:
        self._arrangements.reset()
        return web.Response(status=204)

    async def _close_dispute(self, request: web.Request) -> web.Response:
        """Close a dispute as `{"result": "won"}` or `"lost"`; answer the dispute."""
        result = (await _body(request)).get("result")
        if result not in ("won", "lost"):
            return web.json_response({"error": "result must be won or lost"}, status=400)
        try:
            return web.json_response(await self._bank.close_dispute(request.match_info["id"], result=result))
        except ApiError as error:
            return web.json_response(error.body, status=error.status)


def _guarded(endpoint: Any) -> Any:
    async def handle(request: web.Request) -> web.StreamResponse:
        check_program(request)
        try:
            answer: web.StreamResponse = await endpoint(request)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        return answer

    return handle


async def _body(request: web.Request) -> dict[str, Any]:
    value = json.loads(await request.text() or "{}")
    if not isinstance(value, dict):
        raise ValueError("the body must be a JSON object")
    return value
