"""The screening service's HTTP side: credentials, validation, and its slowness.

`POST /screening/v1/checks` with the JSON of a question answers a check: `id`, `reference`, `result` (`passed` or
`failed`) and `reasons`. Asked again under the same reference it answers the same check, at once.
"""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from sandbox.answers import Answer
from sandbox.calls import Calls
from sandbox.faults import Faults, Rule
from sandbox.jsons import Json, dumps
from sandbox.ledger import Ledger
from sandbox.screening.checks import Checks, wrong_field
from sandbox.stats import Stats

OP = "screening.check"


class ScreeningApi:
    """Answers the calls under `/screening/v1/`. A new check takes `seconds`."""

    def __init__(self, *, checks: Checks, ledger: Ledger, faults: Faults, stats: Stats, seconds: float) -> None:
        self._checks = checks
        self._ledger = ledger
        self._seconds = seconds
        self._calls = Calls(group="screening", faults=faults, stats=stats, refusal=_refusal, error=_error)

    def add_routes(self, app: web.Application) -> None:
        app.router.add_post("/screening/v1/checks", self._calls.handler(OP, self._check))

    async def _check(self, request: web.Request, fault: Rule | None) -> Answer:
        line: Json = {"op": OP} | ({"fault": str(fault.kind)} if fault else {})
        try:
            question = json.loads(await request.text())
        except ValueError:
            question = None
        if field := wrong_field(question):
            return await self._refuse(400, f"missing, malformed or not wanted: {field}", line)
        try:
            if self._checks.made(question) is None:
                await asyncio.sleep(self._seconds)
            # the same question may have been asked and answered meanwhile
            check = self._checks.made(question)
        except LookupError as problem:
            return await self._refuse(422, str(problem), line)
        line["status"] = 200
        if check is None:
            written = self._checks.make(question, line=line)
            check = written["check"]
        else:
            written = self._checks.commit({**line, "repeated": check["id"]})
        await self._ledger.durable(written["n"])
        return Answer(status=200, body=dumps(check))

    async def _refuse(self, status: int, message: str, line: Json) -> Answer:
        written = self._checks.commit({**line, "status": status, "answer": message})
        await self._ledger.durable(written["n"])
        return _error(status, message)


def _refusal(request: web.Request) -> Answer | None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.startswith("scr_"):
        return None
    return _error(401, "a key that starts with scr_ is needed")


def _error(status: int, message: str) -> Answer:
    return Answer(status=status, body=dumps({"error": {"message": message}}))
