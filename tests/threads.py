"""Real threads with real connections."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connection

T = TypeVar("T")


def together(*functions: Callable[[], T]) -> list[T]:
    """Start all functions at the same moment, each in a thread with its own connection; their results in
    order. The first error is raised after all have ended."""
    gate = threading.Barrier(len(functions))

    def run(function: Callable[[], T]) -> T:
        try:
            gate.wait(timeout=30)
            return function()
        finally:
            connection.close()

    with ThreadPoolExecutor(max_workers=len(functions)) as pool:
        futures = [pool.submit(run, function) for function in functions]
    return [future.result() for future in futures]


def repeated(function: Callable[[], T], times: int) -> Sequence[T]:
    """The same function `times` times at once."""
    return together(*[function] * times)
