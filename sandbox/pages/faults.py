"""The faults in force, to see, add and clear."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from sandbox.faults import WEBHOOK_OPS, FaultRuleError, Faults, Kind
from sandbox.loopback import check_own_page
from sandbox.pages.rendering import page

OPS = (
    "*",
    "bank",
    "payment_intents.create",
    "payment_intents.confirm",
    "payment_intents.retrieve",
    "payment_intents.cancel",
    "payment_intents.list",
    "payment_methods.create",
    "refunds.create",
    "mail",
    "mail.send",
    "screening.check",
    *WEBHOOK_OPS,
)
"""Offered in the form; the control endpoint takes any pattern."""


class FaultPages:
    """`/faults/`."""

    def __init__(self, *, faults: Faults, apply_faults: Callable[[web.Request], Awaitable[None]]) -> None:
        self._faults = faults
        self._apply_faults = apply_faults

    def add_routes(self, app: web.Application) -> None:
        app.router.add_get("/faults/", self._list)
        app.router.add_post("/faults/", self._add)
        app.router.add_post("/faults/clear", self._clear)
        app.router.add_post("/faults/{id:\\d+}/remove", self._remove)

    async def _list(self, request: web.Request) -> web.Response:
        return self._page()

    def _page(self, *, problem: str = "", status: int = 200) -> web.Response:
        return page(
            "faults.html", status=status, rules=self._faults.rules(), ops=OPS, kinds=list(Kind), problem=problem
        )

    async def _add(self, request: web.Request) -> web.Response:
        check_own_page(request)
        form = await request.post()
        try:
            self._faults.add({name: value for name, value in form.items() if value})
        except FaultRuleError as error:
            return self._page(problem=str(error), status=400)
        return await self._changed(request)

    async def _clear(self, request: web.Request) -> web.Response:
        check_own_page(request)
        self._faults.clear()
        return await self._changed(request)

    async def _remove(self, request: web.Request) -> web.Response:
        check_own_page(request)
        self._faults.remove(int(request.match_info["id"]))
        return await self._changed(request)

    async def _changed(self, request: web.Request) -> web.Response:
        await self._apply_faults(request)
        if self._faults.down():
            # the page itself may be behind the closed door
            return self._page()
        raise web.HTTPSeeOther("/faults/")
