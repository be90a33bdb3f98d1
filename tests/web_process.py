"""The store's web server as a process of its own, on the test's database: to be killed and started again."""

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

from shop.local.ports import LOOPBACK, first_free
from tests.database_url import database_url

ROOT = Path(__file__).parents[1]
# Seconds; the machine may be busy with other tests.
START_SECONDS = 30.0


class WebProcess:
    """A context manager. `start()` after `kill()` is on the same address."""

    def __init__(self, log: Path) -> None:
        port = first_free(start=20_000 + os.getpid() % 10_000)
        self.url = f"http://{LOOPBACK}:{port}"
        self._bind = f"{LOOPBACK}:{port}"
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> Self:
        """Start one worker with these further variables, and wait until it serves."""
        arguments = ["shop.wsgi", "--bind", self._bind, "--no-control-socket", "--threads", "4", "--preload"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", *arguments],
                cwd=ROOT,
                env={**os.environ, "DATABASE_URL": database_url(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        atexit.register(self.kill)
        deadline = time.monotonic() + START_SECONDS
        while not self._serves():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the web server did not start: {self._log.read_text()}")
            time.sleep(0.05)
        return self

    def kill(self) -> None:
        """At once, with its workers."""
        atexit.unregister(self.kill)
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.kill()

    def _serves(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5):  # noqa: S310 - our own process
                return True
        except (urllib.error.URLError, OSError):
            return False
