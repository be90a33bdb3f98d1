"""`make crash-points` sets CRASH_POINTS=all: every fault and the second hit too, on a PostgreSQL that may be stopped.

Without it, as a part of `make test`, every point is hit once and its process killed.
"""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pytest_django import DjangoDbBlocker

if TYPE_CHECKING:
    from tests.faults.crash_store import CrashStore

ALL = os.environ.get("CRASH_POINTS") == "all"
# What `make crash-points` prints: (point, fault, hit, result, seconds).
ROWS: list[tuple[str, str, int, str, float]] = []
# And how often the acknowledgement of each kind of COMMIT was lost.
COMMITS: Counter[tuple[str, ...]] = Counter()


@pytest.fixture(scope="module")
def crash_store(
    request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["CrashStore"]:
    """Its processes live as long as they are let; everything else is shared by all points. No longer than for its
    module: meanwhile this process's own connection leads to the store's database, too. A module that sets PROXIED has
    the proxies in every run."""
    from shop.local.postgres import EmbeddedPostgres
    from tests.faults.crash_store import CrashStore  # models: only once the settings are loaded

    folder = Path(tempfile.mkdtemp(prefix="store-crashes-"))
    folder.chmod(0o711)  # as root, PostgreSQL's account must get through
    postgres = EmbeddedPostgres(folder / "postgresql") if ALL else None
    logs = tmp_path_factory.mktemp("crashes")
    proxied = ALL or getattr(request.module, "PROXIED", False)
    try:
        with django_db_blocker.unblock(), CrashStore(logs, postgres=postgres, proxied=proxied) as store:
            yield store
    finally:
        if postgres is not None:
            postgres.remove()
        shutil.rmtree(folder, ignore_errors=True)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if COMMITS:
        terminalreporter.section("lost acknowledgements of COMMITs, by what they have changed")
        for kind, times in sorted(COMMITS.items()):
            terminalreporter.write_line(f"{times:4}  {', '.join(kind)}")
    if not (ALL and ROWS):
        return
    terminalreporter.section("crash points")
    for point, fault, hit, result, seconds in sorted(ROWS):
        terminalreporter.write_line(f"{point:5}{fault:13}{hit:3}  {result:10}{seconds:6.1f} s")
