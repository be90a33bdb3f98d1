"""The bank's HTTP side: credentials, limits, idempotency and faults around each operation."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from sandbox.answers import Answer, hang_up, send
from sandbox.arrangements import Arrangements
from sandbox.bank import credentials
from sandbox.bank.bank import Bank
from sandbox.bank.books import API_VERSION, Change, new_id
from sandbox.bank.errors import (
    ApiError,
    invalid_request,
    key_in_use,
    missing_resource,
    rate_limited,
    server_error,
)
from sandbox.bank.expand import expand
from sandbox.bank.idempotency import Record, fingerprint
from sandbox.bank.limits import RateLimit
from sandbox.bank.operations import Operation
from sandbox.bank.params import Params, parse_form
from sandbox.faults import Faults, Kind, Rule
from sandbox.jsons import Json, dumps
from sandbox.ledger import Ledger
from sandbox.stats import Stats

SECRET_PARAMETERS = ("card[number]", "card[cvc]")
"""Never written anywhere, not even of a test card."""


@dataclass(slots=True, kw_only=True)
class _Call:
    """One request on its way through."""

    operation: Operation
    path: str
    object_id: str
    pairs: list[tuple[str, str]]
    key: str | None
    authorization: str | None
    request_id: str
    fault: Rule | None

    @property
    def writes(self) -> bool:
        return self.operation.method == "POST"

    def hits(self, *kinds: Kind) -> bool:
        return self.fault is not None and self.fault.kind in kinds

    def line(self, **more: Any) -> Json:
        """Return the call as the ledger keeps it. A read is one short line."""
        line: Json = {
            "op": self.operation.name,
            "method": self.operation.method,
            "path": self.path,
            "request": self.request_id,
            "params": {
                name: f"•••• {value[-4:]}" if name in SECRET_PARAMETERS else value for name, value in self.pairs
            },
            "key": self.key if self.writes else None,
            "fault": str(self.fault.kind) if self.fault else None,
            **more,
        }
        return {name: value for name, value in line.items() if value not in (None, {})}


class _HungUp(Exception):
    """The caller gets no answer."""


class BankApi:
    """Answers the calls of `operations`."""

    def __init__(
        self,
        *,
        bank: Bank,
        ledger: Ledger,
        faults: Faults,
        stats: Stats,
        arrangements: Arrangements,
        rate_limit: int | None,
    ) -> None:
        self._bank = bank
        self._ledger = ledger
        self._faults = faults
        self._stats = stats
        self._arrangements = arrangements
        self._limit = RateLimit(rate_limit)

    def add_routes(self, app: web.Application, operations: list[Operation]) -> None:
        for operation in operations:
            app.router.add_route(operation.method, operation.path, self._handler(operation))
        app.router.add_route("*", "/v1/{tail:.*}", self._unknown)

    def _handler(self, operation: Operation) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            with self._stats.call(operation.name):
                return await self._handle(request, operation)

        return handle

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        error = invalid_request(
            f"Unrecognized request URL ({request.method}: {request.path}). Please see https://stripe.com/docs or "
            "we can help at https://support.stripe.com/.",
            status=404,
        )
        return Answer(status=404, body=dumps(error.body), headers={"Request-Id": new_id("req")}).response()

    async def _handle(self, request: web.Request, operation: Operation) -> web.StreamResponse:
        body = await request.text()
        text = body if operation.method == "POST" else request.query_string
        call = _Call(
            operation=operation,
            path=request.path,
            object_id=request.match_info.get("id", ""),
            pairs=parse_qsl(text, keep_blank_values=True),
            key=request.headers.get("Idempotency-Key"),
            authorization=request.headers.get("Authorization"),
            request_id=new_id("req"),
            fault=self._faults.take(group="bank", op=operation.name, text=f"{request.path}?{text}"),
        )
        try:
            answer = await self._answer(call)
        except _HungUp:
            self._stats.count(operation.name, "hung_up")
            return hang_up(request)
        answer.headers |= {
            "Request-Id": call.request_id,
            "Stripe-Version": str(self._arrangements["api_version"] or API_VERSION),
        }
        if call.key is not None and call.writes:
            answer.headers["Idempotency-Key"] = call.key
        self._stats.count(operation.name, "hung_up" if call.hits(Kind.DROP_AFTER, Kind.RESET) else answer.status)
        return await send(request, answer, call.fault)

    async def _answer(self, call: _Call) -> Answer:
        """Return the answer, once all that it says is on the disk."""
        try:
            self._admit(call)
            if call.key is None or not call.writes:
                return await self._execute(call)
            parameters = fingerprint(call.pairs)
            record = self._bank.keys.begin(call.key, path=call.path, parameters=parameters, now=time.time())
            if record is not None:
                return await self._replay(call, record)
            try:
                return await self._execute(call, saved=parameters)
            finally:
                self._bank.keys.release(call.key)
        except ApiError as error:
            line = call.line(status=error.status, intent=_intent_of(call, {}), answer=error.body)
            await self._ledger.durable(self._bank.commit(None, line)["n"])
            return Answer(status=error.status, body=dumps(error.body), headers=dict(error.headers))

    def _admit(self, call: _Call) -> None:
        """Let the call in, or raise: Stripe's limiter runs before its idempotency layer."""
        if call.hits(Kind.REFUSE):
            raise _HungUp
        if call.hits(Kind.RATE_LIMIT):
            raise rate_limited(retry_after=1, reason="global-rate")
        self._limit.take()
        key = credentials.check(
            call.authorization,
            operation=call.operation.name,
            writes=call.writes,
            publishable_allowed=call.operation.publishable and (call.writes or "client_secret" in dict(call.pairs)),
            arrangements=self._arrangements,
        )
        if key in self._arrangements["foreign_keys"] and call.object_id:
            raise missing_resource(noun="payment_intent", resource_id=call.object_id, param="intent", status=404)
        if call.hits(Kind.CONFLICT_409):
            raise key_in_use(call.key or "")

    async def _replay(self, call: _Call, record: Record) -> Answer:
        line = call.line(status=record.status, intent=_intent_of(call, {}), replayed=record.request_id)
        await self._ledger.durable(self._bank.commit(None, line)["n"])
        headers = {"Idempotent-Replayed": "true", "Original-Request": record.request_id}
        return Answer(status=record.status, body=record.body, headers=headers)

    async def _execute(self, call: _Call, *, saved: str | None = None) -> Answer:
        """Run the operation. Raises ApiError where it refused before it executed anything."""
        if call.fault is not None and call.hits(Kind.DELAY):
            await asyncio.sleep(call.fault.seconds)
        if call.hits(Kind.DROP_BEFORE):
            self._bank.commit(None, call.line(intent=_intent_of(call, {})))
            raise _HungUp
        seen = self._ledger.last
        change = self._bank.change(request_id=call.request_id, key=call.key)
        status, body = self._run(call, change)
        line = call.line(status=status, intent=_intent_of(call, body))
        if saved is not None:
            line |= {"saved": saved, "answer": body}
        elif status >= 400:
            line["answer"] = body
        number = self._bank.commit(change, line)["n"]
        # a read waits for what it has seen, not for its own line
        await self._ledger.durable(number if call.writes else seen)
        self._bank.send_webhooks(change.events)
        return Answer(status=status, body=dumps(body))

    def _run(self, call: _Call, change: Change) -> tuple[int, Json]:
        """Return what the operation answers. Raises ApiError where it refused before it executed anything."""
        try:
            if call.hits(Kind.ERROR_500_BEFORE):
                raise server_error()
            params = Params(parse_form(call.pairs))
            paths = params.words("expand")
            value = call.operation.run(change, params, call.object_id)
            answer = 200, expand(change, value, paths)
        except ApiError as error:
            if not error.executed:
                raise
            answer = error.status, error.body
        return (500, server_error().body) if call.hits(Kind.ERROR_500_AFTER) else answer


def _intent_of(call: _Call, body: Json) -> str | None:
    """Return the intent that a call is about, as far as the call or its answer tells."""
    value = body.get("error", {}).get("payment_intent", {}) if "error" in body else body
    if value.get("object") == "payment_intent":
        return str(value["id"])
    if isinstance(value.get("payment_intent"), dict):
        return str(value["payment_intent"]["id"])
    if value.get("payment_intent"):
        return str(value["payment_intent"])
    if call.object_id.startswith("pi_"):
        return call.object_id
    return dict(call.pairs).get("payment_intent")
