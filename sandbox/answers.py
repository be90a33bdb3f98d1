"""An answer on its way out, and the faults that may befall it."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass, field

from aiohttp import web

from sandbox.faults import Kind, Rule

DRIPS = 20
"""Into how many pieces a slow answer is cut: enough that no single read waits for its time-out."""


@dataclass(slots=True, kw_only=True)
class Answer:
    """A complete HTTP answer."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    def response(self) -> web.Response:
        return web.Response(status=self.status, body=self.body, headers=self.headers, content_type=self.content_type)


def hang_up(request: web.Request, *, reset: bool = False) -> web.Response:
    """Close the connection without an answer, in good order or with a TCP reset."""
    transport = request.transport
    if transport is not None:
        sock: socket.socket | None = transport.get_extra_info("socket")
        if reset and sock is not None:
            # lingering for zero seconds turns the close into a reset
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response()  # aiohttp wants one; it reaches nobody


async def send(request: web.Request, answer: Answer, fault: Rule | None) -> web.StreamResponse:
    """Send the answer, or what the fault leaves of it."""
    if fault is None:
        return answer.response()
    match fault.kind:
        case Kind.DELAY_ANSWER:
            await asyncio.sleep(fault.seconds)
            return answer.response()
        case Kind.DROP_AFTER:
            return hang_up(request)
        case Kind.RESET:
            return hang_up(request, reset=True)
        case Kind.MALFORMED_BODY:
            return web.Response(
                status=answer.status,
                body=b"<html>" + answer.body[: len(answer.body) // 2],
                headers=answer.headers,
                content_type=answer.content_type,
            )
        case Kind.CUT_BODY | Kind.SLOW_DRIP:
            return await _trickle(request, answer, fault)
        case _:
            return answer.response()


async def _trickle(request: web.Request, answer: Answer, fault: Rule) -> web.StreamResponse:
    """Announce the whole body, then send it slowly, or only its first half."""
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_type = answer.content_type
    response.content_length = len(answer.body)
    await response.prepare(request)
    if fault.kind is Kind.CUT_BODY:
        await response.write(answer.body[: len(answer.body) // 2])
        return hang_up(request)
    size = max(1, -(-len(answer.body) // DRIPS))
    for start in range(0, len(answer.body), size):
        await asyncio.sleep(fault.seconds / DRIPS)
        await response.write(answer.body[start : start + size])
    await response.write_eof()
    return response
