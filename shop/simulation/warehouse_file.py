"""The pretend warehouse's own memory: JSON lines, each on the disk before anything follows from it.

- `opened`: `warehouse`, a name of this file, which no other file has;
- `page`: `after`, `through` and `events` of a page of the feed, accepted as a whole;
- `report`: what was decided about an order, with `reference` and `sequence`, before it is sent;
- `answer`: the store's `status` for a `reference`.
"""

import fcntl
import json
import os
import secrets
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class FileInUse(Exception):
    """Another warehouse works with this file."""


class WarehouseFile:
    """One file, for one process at a time. `lines` is what it held when it was opened."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A file object and not a bare number: closed twice, it closes nothing of somebody else's.
        self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise FileInUse(f"Another warehouse works with {path}.") from None
        whole = path.read_bytes()
        # A line torn by a kill has had no consequence yet.
        complete = whole[: whole.rfind(b"\n") + 1]
        self._file.truncate(len(complete))
        self.lines: list[Json] = [json.loads(line) for line in complete.splitlines()]
        if not self.lines:
            _sync_folder(path.parent)
            self.lines.append(self.append({"line": "opened", "warehouse": secrets.token_hex(4)}))

    @property
    def warehouse(self) -> str:
        return str(self.lines[0]["warehouse"])

    def append(self, line: Json) -> Json:
        """Write one line and wait until it is on the disk."""
        data = json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        while data:
            data = data[self._file.write(data) :]
        os.fsync(self._file.fileno())
        return line

    def close(self) -> None:
        self._file.close()


def _sync_folder(folder: Path) -> None:
    """A new file survives a power cut only once its folder's entry is on the disk."""
    fd = os.open(folder, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
