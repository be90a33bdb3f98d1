"""What the sandbox has been asked, counted since its start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stats:
    """Calls by operation and status, and how many are under way."""

    def __init__(self) -> None:
        self._answers: Counter[tuple[str, str]] = Counter()
        self._in_flight: Counter[str] = Counter()
        self._peak = 0

    @contextmanager
    def call(self, op: str) -> Iterator[None]:
        self._in_flight[op] += 1
        self._peak = max(self._peak, self._in_flight.total())
        try:
            yield
        finally:
            self._in_flight[op] -= 1

    def count(self, op: str, outcome: int | str) -> None:
        """Count one answer: its HTTP status, or `hung_up` where there was none."""
        self._answers[op, str(outcome)] += 1

    def as_json(self) -> dict[str, Any]:
        ops: dict[str, dict[str, int]] = {}
        for (op, outcome), number in sorted(self._answers.items()):
            ops.setdefault(op, {})[outcome] = number
        return {
            "ops": ops,
            "in_flight": {op: number for op, number in sorted(self._in_flight.items()) if number},
            "in_flight_peak": self._peak,
        }
