"""How long each program of the store takes until it does something, and what of it is importing.

    python -m benchmarks.startup [--runs N] [--json FILE]

The median of a few runs, taken in turns, with compiled modules and a warm disk. It starts a PostgreSQL of its own or
makes a database on that of DATABASE_URL, as `python -m benchmarks` does.
"""

import argparse
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks import meters
from benchmarks.children import ROOT, ChildFailed, Task, run
from benchmarks.server import NotDurable, Server, running
from shop.local.ports import LOOPBACK, first_free
from shop.local.postgres import PostgresError

RUNS = 5
DATABASE = "startup"
# Seconds until which a program must be ready, on a busy machine.
PATIENCE = 60.0
# Between two looks whether it is: well below what is measured.
LOOK = 0.005
PACKAGES = 10
# Somebody's, whose mails never come: the checks want one.
PUBLIC_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEkuoxbcaRxBp3VOkXoVOny8ITIju7NggxYMMYSZufGMl0"
    "3pklQm1wR60hL2z0wzwC0QuSOd+3C1tP+VbeC/30iQ=="
)
_IMPORTED = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s+(\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """Seconds: of the clock and of processors, its own processes together."""

    seconds: float
    cpu: float


def ended(environment: dict[str, str], *arguments: str) -> Started:
    """A command, from its start to its end. Raises ChildFailed."""
    used, began = _ended_children(), time.perf_counter()
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise ChildFailed(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-1500:]}")
    return Started(seconds=seconds, cpu=_ended_children() - used)


def ready(environment: dict[str, str], is_ready: Callable[[Path], bool], *arguments: str, log: Path) -> Started:
    """A program that stays, from its start until it is ready by its output or by asking it; it is ended then."""
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-u", *arguments], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        while not is_ready(log):
            if process.poll() is not None or time.perf_counter() - began > PATIENCE:
                raise ChildFailed(f"{' '.join(arguments)} was never ready:\n{log.read_text()[-1500:]}")
            time.sleep(LOOK)
        return Started(seconds=time.perf_counter() - began, cpu=meters.server_cpu(process.pid) or 0.0)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def imports(environment: dict[str, str], statement: str) -> dict[str, float]:
    """Milliseconds that each package's own modules took, the slowest first, and `all` together."""
    told = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-X", "importtime", "-c", statement],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    by_package: dict[str, float] = defaultdict(float)
    for line in told.splitlines():
        if found := _IMPORTED.match(line):
            by_package[found[2]] += int(found[1]) / 1000
    slowest = sorted(by_package.items(), key=lambda each: -each[1])[:PACKAGES]
    return {"all": sum(by_package.values()), **dict(slowest)}


def measure(server: Server, *, runs: int) -> tuple[dict[str, list[Started]], dict[str, list[dict[str, float]]]]:
    """Every run of each program, and of the imports of workers and of web."""
    server.create(DATABASE)
    try:
        run(server, DATABASE, Task("build", {"products": 0}))
        environment = server.environment(DATABASE, SENDGRID_WEBHOOK_PUBLIC_KEY=PUBLIC_KEY)
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        port = first_free(start=21_000 + os.getpid() % 10_000)
        web = ["-m", "gunicorn", "shop.wsgi", "--bind", f"{LOOPBACK}:{port}", "--no-control-socket", "--preload"]
        log = server.folder / "startup.log"
        programs: dict[str, Callable[[], Started]] = {
            "python alone": lambda: ended(environment, "-c", ""),
            "manage.py check": lambda: ended(environment, "manage.py", "check"),
            "manage.py migrate --check": lambda: ended(environment, "manage.py", "migrate", "--check"),
            "manage.py run_workers, until its loops run": lambda: ready(
                environment, lambda said: "Running" in said.read_text(), "manage.py", "run_workers", log=log
            ),
            "gunicorn, until /readyz": lambda: ready(environment, lambda _: _answers(port), *web, log=log),
        }
        importing = {"workers": "import django; django.setup()", "web": "import shop.wsgi"}
        started: dict[str, list[Started]] = {name: [] for name in programs}
        imported: dict[str, list[dict[str, float]]] = {name: [] for name in importing}
        for number in range(runs + 1):
            for name, program in programs.items():
                taken = program()
                if number:  # the first one compiles and warms the disk's cache
                    started[name].append(taken)
            for name, statement in importing.items():
                if number:
                    imported[name].append(imports(environment, statement))
    finally:
        server.drop(DATABASE)
    return started, imported


def show(console: Console, started: dict[str, list[Started]], imported: dict[str, list[dict[str, float]]]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("start of", "ms", "lowest–highest", "processors, ms"):
        table.add_column(heading, justify="left" if heading == "start of" else "right")
    for name, runs in started.items():
        seconds = [each.seconds * 1000 for each in runs]
        cpu = median(each.cpu * 1000 for each in runs)
        table.add_row(name, f"{median(seconds):,.0f}", f"{min(seconds):,.0f}–{max(seconds):,.0f}", f"{cpu:,.0f}")
    console.print(table, "")
    for name, told in imported.items():
        # Import times of one run add up; so the middle one is shown whole.
        middle = sorted(told, key=lambda each: each["all"])[len(told) // 2]
        slowest = ", ".join(f"{package} {taken:.0f}" for package, taken in middle.items() if package != "all")
        console.print(f"imports of {name}: {middle['all']:.0f} ms, of which {slowest}", soft_wrap=True)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _ended_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.startup", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=RUNS, metavar="N", help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write machine and all runs there")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs is a number from 1")
    before = meters.load()
    try:
        with running() as server:
            started, imported = measure(server, runs=options.runs)
            machine = meters.machine(server.folder)
    except (PostgresError, psycopg.Error, NotDurable, ChildFailed) as error:
        print(f"Nothing was measured: {error}", file=sys.stderr)  # noqa: T201 - a program for people
        return 2
    if options.json:
        told = {name: [asdict(each) for each in runs] for name, runs in started.items()}
        about = {"machine": machine, "load before": before, "load after": meters.load()}
        options.json.write_text(json.dumps({**about, "startup": told, "imports": imported}, indent=1) + "\n")
    show(Console(highlight=False), started, imported)
    return 0


if __name__ == "__main__":
    sys.exit(main())
