"""The ledger: append-only JSON lines, on the disk before anybody is answered.

The books, `bank.jsonl`, `mail.jsonl` and `screening.jsonl`, share one numbering `n`. Everything the sandbox
knows is rebuilt from them, so a kill at any moment loses only what was never answered. Lines that wait are
written and synced together, so that concurrent requests share one fsync.
"""

from __future__ import annotations

import asyncio
import fcntl
import heapq
import json
import os
import time
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from sandbox.jsons import Json, dumps

BookName = Literal["bank", "mail", "screening"]
BOOKS: tuple[BookName, ...] = ("bank", "mail", "screening")


class LedgerError(Exception):
    """The folder is in use by another sandbox, or a line in the middle of a book cannot be read."""


class _Book:
    """One file, with the offset of each of its lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self.numbers = array("Q")
        self.offsets = array("Q")
        self.size = 0
        self.waiting: list[bytes] = []

    def load(self) -> Iterator[Json]:
        """Yield every line. A last line that was torn by a kill was never answered: it is cut off."""
        with self.path.open("rb") as file:
            for raw in file:
                try:
                    line: Json = json.loads(raw) if raw.endswith(b"\n") else {}
                    number = line["n"]
                except (ValueError, KeyError):
                    if file.read(1):
                        raise LedgerError(f"{self.path}: unreadable line at byte {self.size}") from None
                    break
                self.index(number, len(raw))
                yield line
        os.ftruncate(self.fd, self.size)

    def index(self, number: int, length: int) -> None:
        self.numbers.append(number)
        self.offsets.append(self.size)
        self.size += length

    def take(self) -> list[bytes]:
        taken, self.waiting = self.waiting, []
        return taken

    def write(self, lines: list[bytes]) -> None:
        data = b"".join(lines)
        while data:
            data = data[os.write(self.fd, data) :]
        os.fdatasync(self.fd)

    def read(self, first: int, count: int) -> list[Json]:
        """Return up to `count` lines from index `first` on."""
        if first >= len(self.offsets) or count <= 0:
            return []
        last = min(first + count, len(self.offsets))
        end = self.offsets[last] if last < len(self.offsets) else self.size
        raw = os.pread(self.fd, end - self.offsets[first], self.offsets[first])
        return [json.loads(line) for line in raw.splitlines()]


class Ledger:
    """All books of one folder, owned by one process at a time."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LedgerError(f"{directory} is in use by another sandbox") from None
        self._books = {name: _Book(directory / f"{name}.jsonl") for name in BOOKS}
        self._sync_directory(directory)
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
        self._flush: asyncio.Task[None] | None = None
        self._durable = 0
        self.last = 0
        self.failure: asyncio.Event = asyncio.Event()

    @staticmethod
    def _sync_directory(directory: Path) -> None:
        """A new file survives a power cut only once its directory entry is on the disk."""
        fd = os.open(directory, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)

    def load(self) -> Iterator[tuple[BookName, Json]]:
        """Yield every line of all books in order, once, before anything is appended."""

        def lines_of(name: BookName, book: _Book) -> Iterator[tuple[BookName, Json]]:
            return ((name, line) for line in book.load())

        streams = [lines_of(name, book) for name, book in self._books.items()]
        for name, line in heapq.merge(*streams, key=lambda entry: int(entry[1]["n"])):
            self.last = line["n"]
            yield name, line
        self._durable = self.last

    def append(self, book: BookName, line: Json) -> Json:
        """Add one line; return it as it will be read back, with its number `n` and the time `at` (seconds).

        It is on the disk only after `durable(n)`.
        """
        self.last += 1
        numbered = {"n": self.last, "at": round(time.time(), 3), **line}
        self._books[book].waiting.append(dumps(numbered) + b"\n")
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._write())
        return numbered

    async def durable(self, number: int) -> None:
        """Wait until every line up to `number` is on the disk.

        Raises OSError when the disk refuses; `failure` is then set and nothing may be answered any more.
        """
        while self._durable < number and self._flush is not None:
            await asyncio.shield(self._flush)

    async def _write(self) -> None:
        """Put all lines that wait on the disk; those that came meanwhile are the next writing's."""
        last = self.last
        loop = asyncio.get_running_loop()
        taken = [(book, book.take()) for book in self._books.values() if book.waiting]
        for book, lines in taken:
            try:
                await loop.run_in_executor(self._disk, book.write, lines)
            except OSError:
                self.failure.set()
                raise
        for book, lines in taken:
            for raw in lines:
                book.index(_number_of(raw), len(raw))
        self._durable = last
        if self.last > last:
            self._flush = asyncio.create_task(self._write())

    def lines(self, *, after: int = 0, limit: int = 1000) -> list[Json]:
        """Return the durable lines numbered above `after`, oldest first, each with the name of its book."""
        found: list[Json] = []
        for name, book in self._books.items():
            first = bisect_right(book.numbers, after)
            found.extend({"book": name, **line} for line in book.read(first, limit))
        return sorted(found, key=lambda line: line["n"])[:limit]

    def line(self, number: int) -> Json | None:
        """Return one line by its number."""
        found = self.lines(after=number - 1, limit=1)
        return found[0] if found and found[0]["n"] == number else None

    async def close(self) -> None:
        try:
            if not self.failure.is_set():
                await self.durable(self.last)
        finally:
            self._disk.shutdown()
            for book in self._books.values():
                os.close(book.fd)
            os.close(self._lock)


def _number_of(raw: bytes) -> int:
    return int(raw[len(b'{"n":') : raw.index(b",")])
