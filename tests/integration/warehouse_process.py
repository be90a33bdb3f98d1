"""The pretend warehouse as a process, its file, and the books' word on both."""

import contextlib
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.management import call_command

from tests.web_process import ROOT

Json = dict[str, Any]
# Seconds for what takes a second when nothing else runs.
PATIENCE = 60.0


def start(*, base_url: str, token: str, data: Path, options: tuple[str, ...] = ()) -> "subprocess.Popen[bytes]":
    with (data / "warehouse.log").open("ab") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "manage.py", "simulate_warehouse", "--data", str(data)),
                *("--base-url", base_url, "--token", token, "--poll", "0.05", *options),
            ],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def lines(data: Path, kind: str = "") -> list[Json]:
    """What stands in its file, all of it or of one kind."""
    file = data / "warehouse.jsonl"
    whole = file.read_bytes() if file.exists() else b""
    found = [json.loads(line) for line in whole[: whole.rfind(b"\n") + 1].splitlines()]
    return [line for line in found if kind in ("", line["line"])]


def wait_until(done: Callable[[], bool], *, process: "subprocess.Popen[bytes] | None" = None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert process is None or process.poll() is None, "the warehouse ended"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def differences(data: Path) -> list[Json]:
    """What the books find wrong with the warehouse's file."""
    out = io.StringIO()
    arguments = ["--json", "--warehouse-file", str(data / "warehouse.jsonl"), "--invariant", "S6", "Q6", "Q7"]
    with contextlib.suppress(SystemExit):
        call_command("check_money", *arguments, stdout=out)
    answer = json.loads(out.getvalue())
    assert answer["unreadable"] == []
    assert not [each for each in answer["checks"] if each["remarks"]]
    return [{"invariant": each["invariant"], **found} for each in answer["checks"] for found in each["differences"]]
