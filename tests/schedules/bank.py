"""The sandbox's bank, in this process: its real rules and its real idempotency, without a socket and a disk.

A request waits at the crash point of its call until its actor goes on: then the bank executes it and answers. So a
call is slow for as long as others have the baton.
"""

import hashlib
import io
import json
from collections.abc import Coroutine, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import requests
from requests.adapters import BaseAdapter
from urllib3.response import HTTPResponse

from outbox import transport
from outbox.crash_points import request_is_out
from sandbox.agenda import Agenda
from sandbox.arrangements import Arrangements
from sandbox.bank import confirmation
from sandbox.bank.api import BankApi, _Call
from sandbox.bank.bank import Bank
from sandbox.bank.books import new_id
from sandbox.bank.operations import Operation, operations
from sandbox.faults import Faults
from sandbox.jsons import Json
from sandbox.ledger import Ledger
from sandbox.options import Options
from sandbox.stats import Stats
from tests.schedules.actors import current

ADDRESS = "http://bank.test"


class MemoryLedger:
    """What sandbox.ledger.Ledger keeps, for as long as an execution lasts."""

    def __init__(self, now: SimpleNamespace) -> None:
        self.lines: list[Json] = []
        self._now = now

    @property
    def last(self) -> int:
        return len(self.lines)

    def append(self, book: str, line: Json) -> Json:
        numbered = {"n": self.last + 1, "at": self._now.time(), **line}
        self.lines.append(json.loads(json.dumps(numbered)))
        return numbered

    async def durable(self, number: int) -> None:
        """It is as durable as it will be."""


class NoAgenda:
    """The bank does nothing by itself: no card used here settles later."""

    def add(self, *, name: str, **later: object) -> None:
        raise AssertionError(f"{name}: this explorer has no actor for what the bank does later")


class InProcessBank:
    """`lines` are the ledger's of an earlier one, to go on from there. `now.time()` is the bank's clock."""

    def __init__(self, now: SimpleNamespace, lines: Iterable[Json] = ()) -> None:
        options = Options(data=Path())
        self.ledger = MemoryLedger(now)
        ledger = cast(Ledger, self.ledger)
        self._bank = Bank(options=options, ledger=ledger, agenda=cast(Agenda, NoAgenda()))
        arrangements = Arrangements(options=options, mail_public_key="")
        self._api = BankApi(
            bank=self._bank,
            ledger=ledger,
            faults=Faults(),
            stats=Stats(),
            arrangements=arrangements,
            rate_limit=None,
        )
        self._operations = operations(base_url=lambda: ADDRESS, arrangements=arrangements)
        for line in lines:
            self.ledger.lines.append(line)
            self._bank.restore(line)

    def answer(self, method: str, url: str, body: str, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """Execute one request: status, body, headers."""
        parts = urlsplit(url)
        operation, object_id = self._operation(method, parts.path)
        call = _Call(
            operation=operation,
            path=parts.path,
            object_id=object_id,
            pairs=parse_qsl(body if method == "POST" else parts.query, keep_blank_values=True),
            key=headers.get("Idempotency-Key"),
            authorization=headers.get("Authorization"),
            request_id=new_id("req"),
            fault=None,
        )
        answered = _finished(self._api._answer(call))
        return answered.status, answered.body, {**answered.headers, "Request-Id": call.request_id}

    def _operation(self, method: str, path: str) -> tuple[Operation, str]:
        for each in self._operations:
            before, _, after = each.path.partition("{id}")
            object_id = path[len(before) : len(path) - len(after)]
            fits = path == each.path if "{id}" not in each.path else path == f"{before}{object_id}{after}"
            if each.method == method and fits and "/" not in object_id:
                return each, object_id if "{id}" in each.path else ""
        raise AssertionError(f"the bank has no {method} {path}")

    def objects(self, kind: str) -> list[Json]:
        return list(self._bank.books.tables[kind])

    def customer_confirms(self, intent_id: str) -> None:
        """The card's holder says yes on the bank's page."""
        change = self._bank.change()
        confirmation.authenticate(change, intent_id, approved=True)
        self._bank.commit(change, {"op": "customer.confirms", "intent": intent_id})

    def digest(self) -> str:
        """Of everything that any later answer can depend on: all objects, and what each key answers."""
        found = hashlib.blake2b()
        for kind, table in sorted(self._bank.books.tables.items()):
            for value in table:
                found.update(f"{kind}{json.dumps(value, sort_keys=True)}".encode())
        for key, record in sorted(self._bank.keys._records.items()):
            found.update(f"{key}{record.fingerprint}{record.status}".encode() + record.body)
        return found.hexdigest()[:32]


def _finished(call: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that never has to wait."""
    try:
        call.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("the bank waits, and nobody will ever wake it")


class Wire(BaseAdapter):
    """Between the store's HTTP client and the bank. `bank` is exchanged before each execution; `under_way` holds the
    request of each actor that stands at its call's point."""

    def __init__(self) -> None:
        super().__init__()
        self.bank: InProcessBank
        self.under_way: dict[str, requests.PreparedRequest] = {}

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        actor = current()
        if actor is not None:
            actor.must_live()
            self.under_way[actor.name] = request
            request_is_out()
            del self.under_way[actor.name]
            actor.touched += 1
        status, body, headers = self.arrive(request)
        if actor is not None:
            actor.learn(body)
        response = requests.Response()
        response.status_code, response.request, response.url = status, request, request.url or ""
        response.headers.update(headers)
        response.raw = HTTPResponse(body=io.BytesIO(body), preload_content=False)
        return response

    def arrive(self, request: requests.PreparedRequest) -> tuple[int, bytes, dict[str, str]]:
        body = request.body or ""
        text = body if isinstance(body, str) else body.decode()
        return self.bank.answer(request.method or "", request.url or "", text, dict(request.headers))

    def close(self) -> None:
        """There is no connection."""


class WiredSession(transport.DeadlineSession):
    """The store's own session; only the cable is ours."""

    wire: Wire

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.mount(ADDRESS, self.wire)


def pages_of(wire: Wire) -> Any:
    """A stand-in for the module `requests` as the audit's reader uses it."""

    def session() -> requests.Session:
        made = requests.Session()
        made.mount(ADDRESS, wire)
        return made

    return SimpleNamespace(Session=session, RequestException=requests.RequestException)


def moves_something(request: requests.PreparedRequest) -> bool:
    """Whether it matters when, and if ever, the request arrives."""
    return request.method == "POST"
