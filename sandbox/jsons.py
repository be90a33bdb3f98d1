"""JSON as the sandbox holds and writes it."""

from __future__ import annotations

import json
from typing import Any

Json = dict[str, Any]


def dumps(value: object) -> bytes:
    """Return the value as it is stored and answered: compact, UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
