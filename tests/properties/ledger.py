"""The bank's own ledger file, read on from where the last look ended."""

import json
from typing import Any

from tests.sandbox_process import SandboxProcess


class Ledger:
    def __init__(self, sandbox: SandboxProcess) -> None:
        self._path = sandbox.data / "bank.jsonl"
        self._offset = self._path.stat().st_size if self._path.exists() else 0
        self._objects: dict[str, dict[str, Any]] = {}

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """The last version of every object of this kind that has changed since the beginning."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._offset)
                raw = file.read()
            complete = raw[: raw.rfind(b"\n") + 1]
            self._offset += len(complete)
            for line in complete.splitlines():
                for each in json.loads(line).get("objects", []):
                    self._objects[each["id"]] = each
        return [each for each in self._objects.values() if each["object"] == kind]
