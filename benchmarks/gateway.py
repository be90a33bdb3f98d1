"""The bank's protocol over HTTP, for what a payment needs, each answer after a fixed time: a process of its own.

    python -m benchmarks.gateway SECONDS

It says its port, serves until its input ends, and then tells as JSON what it was asked. It keeps nothing on a disk and
checks nothing: the sandbox does, and could not answer a thousand calls a second.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl

from shop.local.ports import LOOPBACK

CREATE, CONFIRM, OTHER = "create", "confirm", "other"
INTENTS = "/v1/payment_intents"
# What an answer of the bank's has beside what is asked for, most of it null: reading it is a part of the call.
EMPTY = """
    application application_fee_amount automatic_payment_methods canceled_at cancellation_reason customer
    customer_account description excluded_payment_method_types last_payment_error latest_charge next_action on_behalf_of
    payment_method payment_method_configuration_details processing receipt_email review setup_future_usage shipping
    source statement_descriptor statement_descriptor_suffix transfer_data transfer_group
"""
PLAIN: dict[str, Any] = {
    **dict.fromkeys(EMPTY.split()),
    "object": "payment_intent",
    "amount_capturable": 0,
    "amount_details": {"tip": {}},
    "amount_received": 0,
    "capture_method": "automatic_async",
    "confirmation_method": "automatic",
    "livemode": False,
    "payment_method_options": {"card": {"installments": None, "mandate_options": None, "network": None}},
    "payment_method_types": ["card"],
    "status": "requires_payment_method",
}


class Bank:
    """What all connections share. `most` is how many calls were under way at once."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.calls: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.under_way = self.most = 0
        self._intents: dict[str, dict[str, Any]] = {}

    def answer(self, method: str, path: str, fields: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """The status and the object."""
        if method == "POST" and path == INTENTS:
            self.calls[CREATE] += 1
            intent = self._created(f"pi_bench{self.calls[CREATE]:016d}", fields)
            return 200, intent
        known = self._intents.get(path.removeprefix(f"{INTENTS}/").removesuffix("/confirm"))
        if method == "POST" and path.endswith("/confirm") and known is not None:
            self.calls[CONFIRM] += 1
            known |= {"status": "succeeded", "latest_charge": known["id"].replace("pi_", "ch_")}
            known |= {"amount_received": known["amount"], "payment_method": fields.get("payment_method")}
            return 200, known
        self.calls[OTHER] += 1
        return 404, {"error": {"type": "invalid_request_error", "code": "resource_missing", "message": path}}

    def _created(self, intent_id: str, fields: dict[str, str]) -> dict[str, Any]:
        metadata = {key[9:-1]: value for key, value in fields.items() if key.startswith("metadata[")}
        known = {"amount": int(fields["amount"]), "currency": fields["currency"], "created": int(time.time())}
        intent = PLAIN | known | {"id": intent_id, "client_secret": f"{intent_id}_secret", "metadata": metadata}
        self._intents[intent_id] = intent
        return intent


class Connection(asyncio.Protocol):
    """One kept-alive connection; its client asks again only after an answer."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - it is TCP
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if len(body) < int(headers.get("content-length", 0)):
            return
        self._buffer = b""
        method, path, _ = first.split(" ")
        if key := headers.get("idempotency-key"):
            self._bank.keys.add(key)
        status, found = self._bank.answer(method, path, dict(parse_qsl(body.decode())))
        # As it is now: the same object may have been confirmed when the answer goes out.
        content = json.dumps(found).encode()
        lines = [f"HTTP/1.1 {status} OK", "Content-Type: application/json", f"Content-Length: {len(content)}"]
        lines += ["Request-Id: req_bench", "", ""]
        self._bank.under_way += 1
        self._bank.most = max(self._bank.most, self._bank.under_way)
        asyncio.get_running_loop().call_later(self._bank.latency, self._send, "\r\n".join(lines).encode() + content)

    def _send(self, answer: bytes) -> None:
        self._bank.under_way -= 1
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


async def serve(latency: float) -> Bank:
    """Until the standard input ends."""
    bank, loop = Bank(latency), asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(bank), LOOPBACK, 0, backlog=512)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    return bank


def main() -> None:
    bank = asyncio.run(serve(float(sys.argv[1])))
    told = {CREATE: bank.calls[CREATE], CONFIRM: bank.calls[CONFIRM], OTHER: bank.calls[OTHER]}
    told |= {"keys": len(bank.keys), "most": bank.most}
    sys.stdout.write(json.dumps(told | {"cpu": time.process_time()}) + "\n")


if __name__ == "__main__":
    main()
