"""Start, stop and kill a real sandbox process; ask it for faults; read its ledger from its files."""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parents[1]
START_SECONDS = 20.0
"""Generous: the machine may be busy with other tests. A start takes about half a second."""
STOP_SECONDS = 10.0


class SandboxProcess:
    """One `python -m sandbox` with its own folder. `options` are its command line's, with underscores.

    `start()` after `stop()` or `kill()` starts it again on the same ports and data, so that `url` stays true.
    """

    def __init__(self, data: Path, **options: object) -> None:
        self.data = data
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._url: str | None = None
        self._control_url: str | None = None

    @property
    def url(self) -> str:
        """Return the address of bank, mail and pages, without a slash at its end."""
        if self._url is None:
            raise RuntimeError("the sandbox was never started")
        return self._url

    @property
    def control_url(self) -> str:
        """Return the address that stays open when the bank is down."""
        if self._control_url is None:
            raise RuntimeError("the sandbox was never started")
        return self._control_url

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the sandbox is not running")
        return self._process.pid

    def start(self) -> Self:
        """Start the process and wait until it serves. Raises RuntimeError with what it said instead."""
        self.data.mkdir(parents=True, exist_ok=True)
        log = self.data / "sandbox.log"
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sandbox", *self._arguments()],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        atexit.register(self.kill)
        lines = self._first_lines(2)
        addresses = dict(line.split()[1:] for line in lines)
        if set(addresses) != {"ready", "control"}:
            self.kill()
            raise RuntimeError(f"the sandbox did not start: {lines} {log.read_text()}")
        self._url, self._control_url = addresses["ready"], addresses["control"]
        return self

    def _arguments(self) -> list[str]:
        options = dict(self._options)
        if self._url is not None and self._control_url is not None:
            options["port"] = self._url.rpartition(":")[2]
            options["control_port"] = self._control_url.rpartition(":")[2]
        arguments = ["--data", str(self.data)]
        for name, value in options.items():
            if value is not None:
                arguments += [f"--{name.replace('_', '-')}", str(value)]
        return arguments

    def _first_lines(self, count: int) -> list[str]:
        assert self._process is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + START_SECONDS
        received = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while received.count(b"\n") < count and time.monotonic() < deadline:
                if selector.select(timeout=deadline - time.monotonic()):
                    chunk = os.read(self._process.stdout.fileno(), 4096)
                    if not chunk:
                        break
                    received += chunk
        return received.decode().splitlines()[:count]

    def stop(self) -> int:
        """Ask the process to end, wait for it, and return its exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process at once, as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        atexit.unregister(self.kill)
        process.send_signal(number)
        try:
            return process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            if process.stdout is not None:
                process.stdout.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def control(self, method: str, path: str, body: object = None) -> Any:
        """Call the control endpoint; return its JSON, None when it answers nothing."""
        request = urllib.request.Request(  # noqa: S310 - our own process
            f"{self.control_url}/_control/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            text = answer.read()
        return json.loads(text) if text else None

    def add_fault(self, op: str, kind: str, **rule: object) -> int:
        """Add one fault rule (times, probability, seed, seconds, match) and return its id."""
        added = self.control("POST", "faults", {"op": op, "kind": kind, **rule})
        return int(added["faults"][0]["id"])

    def remove_fault(self, rule_id: int) -> None:
        self.control("DELETE", f"faults/{rule_id}")

    def clear_faults(self) -> None:
        self.control("DELETE", "faults")

    def faults(self) -> list[dict[str, Any]]:
        rules: list[dict[str, Any]] = self.control("GET", "faults")["faults"]
        return rules

    def arrange(self, **values: object) -> None:
        """Change what the accounts' owner has arranged (sandbox/arrangements.py)."""
        self.control("PATCH", "arrangements", values)

    def stats(self) -> dict[str, Any]:
        counts: dict[str, Any] = self.control("GET", "stats")
        return counts

    def ledger(self, *, after: int = 0, book: str | None = None) -> list[dict[str, Any]]:
        """Return the lines of the ledger's files after number `after`, in order; also of a dead process."""
        lines: list[dict[str, Any]] = []
        for name in ("bank", "mail", "screening") if book is None else (book,):
            path = self.data / f"{name}.jsonl"
            raw = path.read_bytes() if path.exists() else b""
            complete = raw[: raw.rfind(b"\n") + 1]
            lines += [{"book": name, **json.loads(line)} for line in complete.split(b"\n") if line]
        return sorted((line for line in lines if line["n"] > after), key=lambda line: int(line["n"]))

    def bank_objects(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the last version of every object of the bank of this kind, by id, from its file."""
        objects: dict[str, dict[str, Any]] = {}
        for line in self.ledger(book="bank"):
            for value in line.get("objects", []):
                if value["object"] == kind:
                    objects[value["id"]] = value
        return objects
