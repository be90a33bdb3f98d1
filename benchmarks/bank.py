"""The gateway (`benchmarks.gateway`) as a process beside the measured ones."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.children import ROOT, START_PATIENCE, ChildFailed
from benchmarks.server import Server
from shop.local.ports import LOOPBACK


@dataclass(frozen=True, slots=True)
class Gateway:
    """`told` is filled at the block's end: calls by kind, different keys, the most calls at once, CPU seconds."""

    address: str
    told: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, str]:
        """For a process of the store: this is its bank, which is asked as fast as it answers."""
        return {"STRIPE_API_BASE": self.address, "PAYMENT_CALLS_PER_SECOND": "0"}


@contextlib.contextmanager
def gateway(server: Server, *, latency: float) -> Iterator[Gateway]:
    """One that answers after so many seconds. Raises ChildFailed."""
    log = server.folder / "gateway.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "benchmarks.gateway", str(latency)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        port = process.stdout.readline().strip()
        if not port:
            raise ChildFailed(f"The gateway did not start:\n{log.read_text(errors='replace')[-1500:]}")
        found = Gateway(f"http://{LOOPBACK}:{port}")
        yield found
        told, _ = process.communicate(timeout=START_PATIENCE)
        found.told.update(json.loads(told))
    finally:
        process.kill()
        process.communicate()
