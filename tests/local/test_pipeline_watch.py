"""pipeline_status --watch goes on while the database is away and finds it again, on a terminal and in a pipe."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.local.postgres import EmbeddedPostgres

ROOT = Path(__file__).parents[2]
# Seconds; a server that comes back after a crash repeats its log first.
PATIENCE = 40.0


@pytest.fixture
def postgres(open_folder: Path) -> Iterator[EmbeddedPostgres]:
    """A server of its own, with the store's tables: the other tests need theirs."""
    server = EmbeddedPostgres(open_folder / "postgresql")
    server.start()
    try:
        environment = {**os.environ, "DATABASE_URL": server.url}
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=environment, check=True
        )
        yield server
    finally:
        server.remove()


def watch(server: EmbeddedPostgres, *options: str, stdout: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "manage.py", "pipeline_status", "--watch", "--interval", "0.2", *options],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": server.url, "TERM": "xterm", "COLUMNS": "110", "LINES": "60"},
        stdout=stdout,
    )


def test_in_a_pipe_each_look_is_a_line(postgres: EmbeddedPostgres) -> None:
    process = watch(postgres, "--json", stdout=subprocess.PIPE)
    assert process.stdout is not None
    lines = (json.loads(line) for line in process.stdout)
    try:
        assert next(lines)["quiet"] is True
        postgres.crash()
        away = next(line for line in lines if "error" in line)
        assert away["error"]
        postgres.start()
        assert next(line for line in lines if "error" not in line)["quiet"] is True
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    finally:
        process.kill()
        process.communicate()


def test_on_a_terminal_the_last_good_look_stays(postgres: EmbeddedPostgres) -> None:
    ours, theirs = pty.openpty()
    process = watch(postgres, stdout=theirs)
    os.close(theirs)
    try:
        _await(ours, "quiet")
        postgres.crash()
        shown = _await(ours, "the database does not answer")
        assert "what follows is of" in shown
        postgres.start()
        _await(ours, "quiet")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) == 130
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def _await(terminal: int, text: str) -> str:
    """Everything that the terminal shows from now on, until the text is among it and a screen is complete."""
    deadline = time.monotonic() + PATIENCE
    shown = ""
    while text not in shown or "in the last minute" not in shown.partition(text)[2]:
        assert time.monotonic() < deadline, f"no {text!r} in {shown[-2000:]}"
        if select.select([terminal], [], [], 0.5)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
    return shown
