"""What every call of a JSON service goes through: it is counted, its key is checked, and it may fail on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from sandbox.answers import Answer, hang_up, send
from sandbox.faults import Faults, Kind, Rule
from sandbox.stats import Stats

Endpoint = Callable[[web.Request, Rule | None], Awaitable[Answer]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BEFORE_EFFECT = {
    Kind.RATE_LIMIT: (429, "too many requests"),
    Kind.CONFLICT_409: (409, "conflict"),
    Kind.ERROR_500_BEFORE: (500, "internal server error"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """The calls of one service. `group` names them all to the faults, `refusal` answers a caller without a
    valid key, `error` makes an answer of a status and a message in the service's own form."""

    group: str
    faults: Faults
    stats: Stats
    refusal: Callable[[web.Request], Answer | None]
    error: Callable[[int, str], Answer]

    def handler(self, op: str, endpoint: Endpoint) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            with self.stats.call(op):
                text = await request.text()
                fault = self.faults.take(group=self.group, op=op, text=f"{request.path_qs}{text}")
                kind = fault.kind if fault else None
                if kind is Kind.REFUSE:
                    self.stats.count(op, "hung_up")
                    return hang_up(request)
                if fault is not None and kind is Kind.DELAY:
                    await asyncio.sleep(fault.seconds)
                if kind is Kind.DROP_BEFORE:
                    self.stats.count(op, "hung_up")
                    return hang_up(request)
                answer = self.refusal(request) or self._before_effect(kind) or await endpoint(request, fault)
                if kind is Kind.ERROR_500_AFTER:
                    answer = self.error(500, "internal server error")
                unheard = kind in (Kind.DROP_AFTER, Kind.RESET)
                self.stats.count(op, "hung_up" if unheard else answer.status)
                return await send(request, answer, fault)

        return handle

    def _before_effect(self, kind: Kind | None) -> Answer | None:
        if kind is None or kind not in BEFORE_EFFECT:
            return None
        answer = self.error(*BEFORE_EFFECT[kind])
        if kind is Kind.RATE_LIMIT:
            answer.headers["Retry-After"] = "1"
        return answer
