"""After `kill -9` of the process that started everything, nothing is left: as root and as anybody."""

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import psycopg
import pytest

from shop.local.account import Account, server_account
from shop.local.guardian import is_running
from shop.local.postgres import EmbeddedPostgres
from tests.local.test_supervisor import FAMILY
from tests.local.waiting import wait_until

PROJECT = Path(__file__).resolve().parents[2]
# Starts a server and a supervised family in a folder, and writes what it started.
STARTER = f"""
import json, pathlib, signal, sys, time
from shop.local.postgres import EmbeddedPostgres
from shop.local.supervisor import Program, Supervisor
folder = pathlib.Path(sys.argv[1])
postgres = EmbeddedPostgres(folder / "postgresql")
url = postgres.start()
supervisor = Supervisor(logs=folder / "logs", report=print, grace=5.0)
command = [sys.executable, "-c", {FAMILY!r}, str(folder / "pids")]
supervisor.start(Program(name="family", command=command, environment={{}}, folder=folder))
while not (folder / "pids").exists() or " " not in (folder / "pids").read_text():
    time.sleep(0.02)
pids = [postgres.pid, *map(int, (folder / "pids").read_text().split())]
pids += [each._guardian._process.pid for each in (postgres, supervisor)]
print(json.dumps({{"url": url, "pids": pids}}), flush=True)
signal.pause()
"""


def interpreter(account: Account) -> str | None:
    """A Python that the account can run and that fits our packages; ours may lie in root's closed home."""
    wanted = f"python{sysconfig.get_python_version()}"
    for candidate in (
        sys.executable,
        shutil.which(wanted, path="/usr/local/bin:/usr/bin"),
        "/usr/bin/python3",
    ):
        if candidate is None:
            continue
        check = [candidate, "-c", "import psycopg, sys; print('%d.%d' % sys.version_info[:2])"]
        try:
            found = subprocess.run(
                check, env=environment(), cwd="/", capture_output=True, text=True, **account.process_arguments
            )
        except OSError:
            continue
        if found.stdout.strip() == sysconfig.get_python_version():
            return candidate
    return None


def environment() -> dict[str, str]:
    return {
        "PYTHONPATH": os.pathsep.join([str(PROJECT), sysconfig.get_path("purelib")]),
        "PATH": "/usr/bin:/bin",
    }


class Started:
    def __init__(self, folder: Path, python: str, **process_arguments: Any) -> None:
        self.process = subprocess.Popen(
            [python, "-c", STARTER, str(folder)],
            stdout=subprocess.PIPE,
            env=environment(),
            cwd="/",
            **process_arguments,
        )
        assert self.process.stdout is not None
        told = json.loads(self.process.stdout.readline())
        self.url: str = told["url"]
        self.pids: list[int] = told["pids"]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def test_nothing_is_left_and_the_next_start_finds_the_data(open_folder: Path) -> None:
    started = Started(open_folder, sys.executable)
    with psycopg.connect(started.url) as session:
        session.execute("CREATE TABLE kept ()")
    assert all(map(is_running, started.pids))
    started.kill()
    with EmbeddedPostgres(open_folder / "postgresql") as again, psycopg.connect(again.url) as session:
        assert session.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    wait_until(lambda: not any(map(is_running, started.pids)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_same_as_an_ordinary_user(open_folder: Path) -> None:
    nobody = server_account()
    python = interpreter(nobody)
    if python is None:
        pytest.skip(f"no Python that {nobody.name} can run with the packages of this one")
    if not nobody.reaches(PROJECT):
        pytest.skip(f"{nobody.name} cannot reach the project")
    nobody.own(open_folder)
    started = Started(open_folder, python, **nobody.process_arguments)
    for pid in started.pids:
        assert Path(f"/proc/{pid}").stat().st_uid == nobody.uid
    started.kill()
    wait_until(lambda: not any(map(is_running, started.pids)))


def test_a_guardian_that_is_slow_to_start_still_hears_what_to_end(tmp_path: Path) -> None:
    starter = """
import os, signal, subprocess, sys
from shop.local.guardian import Guardian
guardian = Guardian(grace=5.0)
os.kill(guardian._process.pid, signal.SIGSTOP)
sleeper = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True, stdout=subprocess.DEVNULL)
guardian.watch(sleeper.pid, closing=signal.SIGTERM)
print(guardian._process.pid, sleeper.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", starter]
    with subprocess.Popen(command, env=environment(), cwd="/", stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        guardian, sleeper = map(int, started.stdout.readline().split())
    assert is_running(sleeper)
    os.kill(guardian, signal.SIGCONT)
    wait_until(lambda: not is_running(sleeper) and not is_running(guardian))
