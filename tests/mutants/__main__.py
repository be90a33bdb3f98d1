"""Tests of the tests: makes one mistake after another in a copy of the project, and sees that a test fails by it.

Exit status 0 only if every mutant is killed by the tests that it names, and those tests pass without it.
"""

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from shop.local.postgres import EmbeddedPostgres
from tests.mutants.mutant import Mutant, Outdated, catalogue

PROJECT = Path(__file__).parents[2]
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "var", "__pycache__", ".*_cache", "docs", "test-results")
# pytest's exit statuses: all passed, some failed. Anything else (nothing collected, an import that fails) is no proof.
PASSED, FAILED = 0, 1
# Seconds for one mutant's tests: a mistake may also make something wait for ever, which a test notices.
PATIENCE = 300.0

console = Console(highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the mutants' names (all)")
    parser.add_argument("--find", metavar="PATH", nargs="+", help="show which of these tests fail by them instead")
    options = parser.parse_args(arguments)
    chosen = [each for each in catalogue() if not options.names or any(name in each.name for name in options.names)]
    with _server(), tempfile.TemporaryDirectory(prefix="store-mutants-") as folder:
        copy = Path(folder) / "project"
        shutil.copytree(PROJECT, copy, ignore=NOT_COPIED)
        if options.find:
            return _find(chosen, copy, options.find)
        return _kill(chosen, copy)


def _kill(mutants: Sequence[Mutant], copy: Path) -> int:
    killers = sorted({test for each in mutants for test in each.killed_by})
    status, output = _test(copy, killers)
    if status != PASSED:
        console.print(output[-5000:], markup=False)
        console.print("The tests do not pass as they are: nothing can be concluded from one that fails.")
        return 1
    table = Table(title="Mutants", title_justify="left")
    for column in ("mutant", "verdict", "by", "seconds"):
        table.add_column(column, overflow="fold")
    survivors = 0
    for each in mutants:
        begun = time.monotonic()
        verdict, by = _verdict(each, copy)
        survivors += verdict not in ("killed", "equivalent")
        seconds = f"{time.monotonic() - begun:.1f}"
        console.print(f"{verdict}\t{each.name}\t{seconds} s", markup=False, soft_wrap=True)
        table.add_row(each.name, verdict, by, seconds)
    console.print(table)
    console.print(f"{len(mutants)} mutants, {survivors} that no test has killed")
    return 1 if survivors else 0


def _verdict(mutant: Mutant, copy: Path) -> tuple[str, str]:
    try:
        with _made(mutant, copy):
            if mutant.equivalent:
                return "equivalent", mutant.equivalent
            status, output = _test(copy, mutant.killed_by)
    except Outdated as error:
        return "outdated", str(error)
    if status == FAILED:
        return "killed", ", ".join(_failed(output))
    return ("survived" if status == PASSED else f"no proof: pytest ended with {status}"), output[-300:]


def _find(mutants: Sequence[Mutant], copy: Path, paths: Sequence[str]) -> int:
    for each in mutants:
        with _made(each, copy):
            status, output = _test(copy, paths, "-n", "2", "--dist", "loadfile", "--maxfail", "1000")
        console.print(f"{each.name}: pytest ended with {status}", markup=False)
        for test in _failed(output):
            console.print(f"    {test}", markup=False, soft_wrap=True)
    return 0


@contextlib.contextmanager
def _made(mutant: Mutant, copy: Path) -> Iterator[None]:
    """The copy has the mistake, and afterwards it is right again."""
    try:
        mutant.apply(copy)
        yield
    finally:
        shutil.copy2(PROJECT / mutant.file, copy / mutant.file)


def _test(copy: Path, tests: Sequence[str], *options: str) -> tuple[int, str]:
    """pytest's exit status, and what it said."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "--tb",
        "line",
    ]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(copy)}
    with contextlib.suppress(subprocess.TimeoutExpired):
        ended = subprocess.run(
            [*command, *options, *tests],
            cwd=copy,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        return ended.returncode, ended.stdout
    return FAILED, "FAILED by waiting for ever"


def _failed(output: str) -> list[str]:
    return re.findall(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)


@contextlib.contextmanager
def _server() -> Iterator[None]:
    """One PostgreSQL for all runs of pytest: given by DATABASE_URL, or started here."""
    if "DATABASE_URL" in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="store-mutants-pg-") as folder:
        Path(folder).chmod(0o711)  # as root, PostgreSQL's account must get through
        with EmbeddedPostgres(Path(folder)) as postgres:
            os.environ["DATABASE_URL"] = postgres.url
            try:
                yield
            finally:
                del os.environ["DATABASE_URL"]


if __name__ == "__main__":
    sys.exit(main())
