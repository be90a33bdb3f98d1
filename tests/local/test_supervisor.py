"""The supervisor: what dies or hangs is started again, and nothing outlives it."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shop.local.guardian import is_running
from shop.local.supervisor import Program, Supervisor
from tests.local.waiting import wait_until

# Starts a child that ignores SIGTERM, writes both numbers, and waits.
FAMILY = """
import os, pathlib, signal, subprocess, sys
stubborn = "trap '' TERM; echo; while :; do sleep 600; done"
child = subprocess.Popen(["/bin/sh", "-c", stubborn], stdout=subprocess.PIPE)
child.stdout.readline()
pathlib.Path(sys.argv[1]).write_text(f"{os.getpid()} {child.pid}")
signal.pause()
"""


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, reports: list[str]) -> Iterator[Supervisor]:
    with Supervisor(logs=tmp_path / "logs", report=reports.append, grace=5.0) as started:
        yield started


def family(tmp_path: Path) -> Program:
    return Program(
        name="family",
        command=[sys.executable, "-c", FAMILY, str(tmp_path / "pids")],
        environment=os.environ,
        folder=tmp_path,
    )


def family_pids(tmp_path: Path) -> list[int]:
    pids = tmp_path / "pids"
    wait_until(lambda: pids.exists() and " " in pids.read_text())
    return [int(pid) for pid in pids.read_text().split()]


def sleeper(tmp_path: Path, **settings: object) -> Program:
    command = ["/bin/sh", "-c", "echo started; exec sleep 600"]
    return Program(name="sleeper", command=command, environment={}, folder=tmp_path, **settings)  # type: ignore[arg-type]


def test_what_was_begun_ends_when_asked_and_is_not_started_again(supervisor: Supervisor, tmp_path: Path) -> None:
    process = supervisor.begin(sleeper(tmp_path))
    wait_until(lambda: supervisor.log("sleeper").read_text() == "started\n")
    assert supervisor.end(process) == -signal.SIGTERM
    supervisor.tend()
    assert supervisor.log("sleeper").read_text() == "started\n"


def test_what_is_killed_is_started_again(supervisor: Supervisor, reports: list[str], tmp_path: Path) -> None:
    supervisor.start(sleeper(tmp_path))
    first = supervisor.pid("sleeper")
    assert first is not None
    wait_until(lambda: supervisor.log("sleeper").read_text() == "started\n")
    os.kill(first, signal.SIGKILL)
    supervisor.run_until(lambda: supervisor.pid("sleeper") not in (first, None))
    assert len(reports) == 1
    assert reports[0].startswith("sleeper was ended by SIGKILL; starting again in 0.5 s")
    wait_until(lambda: supervisor.log("sleeper").read_text() == "started\nstarted\n")


def test_what_dies_again_and_again_waits_longer(supervisor: Supervisor, reports: list[str], tmp_path: Path) -> None:
    program = Program(name="broken", command=["/bin/false"], environment={}, folder=tmp_path)
    supervisor.start(program)
    supervisor.run_until(lambda: len(reports) == 3)
    pauses = [report.partition("again in ")[2].partition(" s")[0] for report in reports]
    assert pauses == ["0.5", "1.0", "2.0"]
    assert "ended with status 1" in reports[0]


def test_what_hangs_is_killed_and_started_again(supervisor: Supervisor, reports: list[str], tmp_path: Path) -> None:
    supervisor.start(sleeper(tmp_path, healthy=lambda: False, settle=0.0))
    first = supervisor.pid("sleeper")
    supervisor.run_until(lambda: supervisor.pid("sleeper") not in (first, None))
    assert reports[0] == "sleeper hangs and is killed"


def test_a_dead_leaders_children_are_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(family(tmp_path))
    leader, child = family_pids(tmp_path)
    os.kill(leader, signal.SIGKILL)
    supervisor.run_until(lambda: supervisor.pid("family") is None)
    wait_until(lambda: not is_running(child))


def test_stop_ends_children_that_ignore_it(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(family(tmp_path))
    pids = family_pids(tmp_path)
    started = time.monotonic()
    supervisor.stop()
    assert not any(map(is_running, pids))
    assert time.monotonic() - started < 4.0, "the leader ended at once: nothing to wait for"


def test_a_killed_guardian_is_replaced(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(sleeper(tmp_path))
    sleeping = supervisor.pid("sleeper")
    assert sleeping is not None
    supervisor._guardian._process.kill()
    supervisor._guardian._process.wait()
    supervisor.tend()
    supervisor.stop()
    assert not is_running(sleeping)


def test_a_command_runs_to_its_end_while_the_others_are_tended(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(sleeper(tmp_path))
    first = supervisor.pid("sleeper")
    assert first is not None
    os.kill(first, signal.SIGKILL)
    command = ["/bin/sh", "-c", "echo done; sleep 1; exit 3"]
    program = Program(name="command", command=command, environment={}, folder=tmp_path)
    assert supervisor.run(program) == 3
    assert supervisor.log("command").read_text() == "done\n"
    assert supervisor.pid("sleeper") not in (first, None)
