"""The bank's faults, on demand (sandbox/faults.py)."""

import json
import urllib.request


class Faults:
    """`address` is the sandbox's."""

    def __init__(self, address: str) -> None:
        self._url = f"{address}/_control/faults"

    def add(self, op: str, kind: str, **rule: object) -> None:
        self._ask("POST", json.dumps({"op": op, "kind": kind, **rule}).encode())

    def clear(self) -> None:
        self._ask("DELETE", None)

    def _ask(self, method: str, body: bytes | None) -> None:
        asked = urllib.request.Request(  # noqa: S310 - our own process
            self._url, data=body, method=method, headers={"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(asked, timeout=10):  # noqa: S310
            pass
