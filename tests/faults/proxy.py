"""A TCP proxy that stands between the store and PostgreSQL, bank or mail provider, and breaks connections in the
ways in which networks and hosts do. It runs in a thread of the test; every method may be called from any thread.

Of PostgreSQL's protocol it reads just enough (postgresql.org/docs/current/protocol-message-formats.html): where
messages end, the backend's process id, what a transaction has written, and when it is committed. No TLS.
"""

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

_CHUNK = 65536
# Codes of requests that stand where a start-up message would: both are answered by a single byte.
_ENCRYPTION = {80877103, 80877104}
# A statement that changes a table, and the tag with which the server says that it has changed rows: that of the whole,
# which may be a SELECT from what it has changed on the way.
_CHANGE = re.compile(rb'\b(INSERT INTO|UPDATE|DELETE FROM)\s+"?(?!SET\b|OF\b|SKIP\b)(\w+)', re.IGNORECASE)
_CHANGED = re.compile(rb"(INSERT \d+|UPDATE|DELETE|MERGE|SELECT) [1-9]")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Commit:
    """A transaction that has changed rows and is committed, also that of a single statement.

    `kind` is which tables it has changed and how, in the order in which it first did.
    """

    backend: int
    kind: tuple[str, ...]


class _Messages:
    """Cuts a stream of PostgreSQL's messages. `untyped` is how many begin with their length (the start-up's)."""

    def __init__(self, *, untyped: int) -> None:
        self.untyped = untyped
        self.single_bytes = 0
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Whole messages as (type, body); the type of an untyped one is empty."""
        self._rest += data
        found: list[tuple[bytes, bytes]] = []
        while True:
            if self.single_bytes and self._rest:
                self._rest = self._rest[1:]
                self.single_bytes -= 1
            head = 0 if self.untyped else 1
            if len(self._rest) < head + 4:
                return found
            end = head + struct.unpack_from("!I", self._rest, head)[0]
            if len(self._rest) < end:
                return found
            kind, body = self._rest[:head], self._rest[head + 4 : end]
            self._rest = self._rest[end:]
            if not kind and struct.unpack_from("!I", body)[0] not in _ENCRYPTION:
                self.untyped = 0
            found.append((kind, body))


class _Link:
    """One connection of a client, and ours to the server for it."""

    def __init__(self, proxy: "Proxy", client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.proxy, self.client, self.server = proxy, client, server
        self.is_frozen = False
        self.is_cut = False
        self.backend = 0
        self.statement, self.tag = b"", b""
        self.prepared: dict[bytes, bytes] = {}
        self.changes: list[str] = []
        self.requests = _Messages(untyped=1)
        self.answers = _Messages(untyped=0)

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_server: bool) -> None:
        """Forward until an end closes, or for ever where the link is frozen."""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                if self.proxy.delay:
                    await asyncio.sleep(self.proxy.delay)
                if self.proxy.speaks_postgres:
                    (self._said if to_server else self._answered)(data)
                if self.is_frozen or self.is_cut:
                    return
                await self._write(writer, data)
        if not self.is_frozen:
            self.cut()

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        size = self.proxy.drip_bytes or len(data)
        for start in range(0, len(data), size):
            if start:
                await asyncio.sleep(self.proxy.drip_pause)
            writer.write(data[start : start + size])
            await writer.drain()

    def _said(self, data: bytes) -> None:
        for kind, body in self.requests.feed(data):
            if not kind and struct.unpack_from("!I", body)[0] in _ENCRYPTION:
                self.answers.single_bytes += 1
            match kind:
                case b"Q":  # a simple query
                    self.statement = body.rstrip(b"\0")
                case b"P":  # an extended one is parsed once under a name
                    name, statement = body.split(b"\0")[:2]
                    self.prepared[name] = statement
                case b"B":  # and then bound under that name, as often as it runs, to a portal
                    _, name = body.split(b"\0")[:2]
                    self.statement = self.prepared[name]

    def _answered(self, data: bytes) -> None:
        for kind, body in self.answers.feed(data):
            match kind:
                case b"K":
                    self.backend = struct.unpack_from("!I", body)[0]
                case b"C":
                    self.tag = body.rstrip(b"\0")
                    if _CHANGED.match(self.tag):
                        self.changes += [b" ".join(found).decode() for found in _CHANGE.findall(self.statement)]
                case b"Z" if body == b"I":  # no transaction is open any more
                    self._transaction_ended()

    def _transaction_ended(self) -> None:
        changes, self.changes = self.changes, []
        if changes and self.tag != b"ROLLBACK":
            commit = Commit(backend=self.backend, kind=tuple(dict.fromkeys(changes)))
            if self.proxy.is_to_lose(commit):
                self.cut()
                self.proxy.lost_commits.release()

    def cut(self) -> None:
        self.is_cut = True
        for writer in (self.client, self.server):
            writer.close()

    def reset(self) -> None:
        for writer in (self.client, self.server):
            found = writer.get_extra_info("socket")
            if found.family != socket.AF_UNIX:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


def _none(commit: Commit) -> bool:
    return False


class Proxy:
    """A context manager; `port` on 127.0.0.1 leads to `target`, a host and port or the path of a unix socket.

    `delay` in seconds before each chunk; with `drip_bytes` only so many at once, and `drip_pause` seconds between.
    """

    def __init__(self, target: tuple[str, int] | Path, *, speaks_postgres: bool = False) -> None:
        self.speaks_postgres = speaks_postgres
        self.delay = 0.0
        self.drip_bytes, self.drip_pause = 0, 0.0
        self.lost_commits = threading.Semaphore(0)
        self.port = 0
        self._target = target
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_lost: Callable[[Commit], bool] = _none
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *exception: object) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- faults -----------------------------------------------------------------------------------

    def cut(self) -> None:
        """Close every connection in order, as a server that ends does."""
        self._each(_Link.cut)

    def reset(self) -> None:
        """Break every connection off (RST), as a host that has started again does."""
        self._each(_Link.reset)

    def freeze(self) -> None:
        """The host behind the present connections is gone: nothing goes through any more, and neither end is told,
        even where the other closes. New connections are forwarded."""
        self._each(lambda link: setattr(link, "is_frozen", True))

    def thaw(self) -> None:
        """The end of the frozen ones."""
        self._each(lambda link: link.cut() if link.is_frozen else None)

    def lose_commit(self, *, backend: int = 0) -> None:
        """Let the next Commit (of this backend, 0: of any) through, keep its answer, and cut that connection.
        `lost_commits` is released then."""

        def is_the_next(commit: Commit) -> bool:
            if backend not in (0, commit.backend):
                return False
            self._is_lost = _none
            return True

        self.lose_commits(is_the_next)

    def lose_commits(self, is_lost: Callable[[Commit], bool]) -> None:
        """The same with every Commit for which `is_lost` says so, until `keep_commits`; it is asked once about each,
        in the proxy's thread."""
        self._call(lambda: setattr(self, "_is_lost", is_lost))

    def keep_commits(self) -> None:
        self.lose_commits(_none)

    # --- the work ---------------------------------------------------------------------------------

    def is_to_lose(self, commit: Commit) -> bool:
        return self._is_lost(commit)

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self._target, Path):
                answers, server = await asyncio.open_unix_connection(str(self._target))
            else:
                answers, server = await asyncio.open_connection(*self._target)
        except OSError:
            client.transport.abort()
            return
        link = _Link(self, client, server)
        self._links.add(link)
        # Both are kept: a frozen link stays until it is thawed or the proxy ends.
        for pump in (link.pump(reader, server, to_server=True), link.pump(answers, client, to_server=False)):
            task = asyncio.ensure_future(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _end(self) -> None:
        self._server.close()
        for link in self._links:
            link.client.transport.abort()
            link.server.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the loop's next turn

    def _each(self, act: Callable[[_Link], object]) -> None:
        self._call(lambda: [act(link) for link in list(self._links)])

    def _call(self, act: Callable[[], object]) -> None:
        async def inside() -> None:
            act()

        self._run(inside())

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)
