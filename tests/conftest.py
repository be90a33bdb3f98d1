"""What every test run has: a PostgreSQL of its own, production-like settings, Chromium where it is installed.

The settings are named here and not in pyproject.toml: pytest-django would load them before this file has made
their environment.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import settings
from playwright.sync_api import Page
from pytest_django import DjangoDbBlocker

from shop.local.environment import Secrets, store_environment
from shop.local.postgres import EmbeddedPostgres
from tests import template
from tests.sandbox_process import SandboxProcess

# Nothing listens there: a test that wants bank or mailbox takes the fixture `sandbox` and sets its address.
NOBODY = "http://127.0.0.1:9"
# A P-256 key whose private half was thrown away: what the sandbox signs is checked with the sandbox's own.
PUBLIC_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEkuoxbcaRxBp3VOkXoVOny8ITIju7NggxYMMYSZufGMl03pklQm1wR60h"
    "L2z0wzwC0QuSOd+3C1tP+VbeC/30iQ=="
)
# pytest-playwright's own fixture `base_url` is written in a way that pytest 10 will refuse.
BASE_URL_WARNING = r"ignore:Session-scoped fixtures[\s\S]*'base_url':pytest.PytestRemovedIn10Warning"
LONGEST = (
    *("test_crashes_", "test_scheduler.py", "test_operations.py", "test_harness.py", "test_simulate_operators.py"),
    *("test_checkout.py", "test_ledgers.py", "test_worst_day.py", "test_log.py", "test_disk_full.py"),
    *("test_order_paths.py", "test_operators.py"),
)
# The shell is Chromium without the desktop's browser around it: it takes a fifth less of the machine.
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium-headless-shell") or shutil.which("chromium")


def pytest_configure(config: pytest.Config) -> None:
    """Before pytest-django's own, which loads the settings. Workers of xdist inherit what is set here."""
    config.addinivalue_line("filterwarnings", BASE_URL_WARNING)
    if hasattr(config, "workerinput"):
        return
    database_url = os.environ.get("DATABASE_URL")
    if database_url is None:
        folder = Path(tempfile.mkdtemp(prefix="store-tests-"))
        folder.chmod(0o711)  # as root, PostgreSQL's account must get through
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        postgres = EmbeddedPostgres(folder / "postgresql")
        config.add_cleanup(postgres.remove)
        database_url = postgres.start()
    else:
        config.add_cleanup(template.remove)
    template.announce()
    os.environ.update(
        store_environment(
            secrets=Secrets.fresh(),
            database_url=database_url,
            store_address="http://127.0.0.1:8000",
            sandbox_address=NOBODY,
            sendgrid_public_key=PUBLIC_KEY,
        ),
        SCREENING_ABOVE="0",  # orders wait for nobody outside, except where a test is about that
        DJANGO_SETTINGS_MODULE="shop.settings",
    )
    django.setup()  # pytest-django would do it only with settings that are loaded already
    # Each of Django's test clients would look through all static files; servers have settings of their own.
    settings.WHITENOISE_AUTOREFRESH = True
    # A password's hash is slow on purpose, and Django's own.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.hookimpl(trylast=True)  # after the order was made random
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file stays on one process: the longest begin first, or one of them would keep all others waiting at the end."""
    items.sort(key=lambda item: not item.path.name.startswith(LONGEST))
    if CHROMIUM is None and os.environ.get("REQUIRE_BROWSER") != "1":
        skip = pytest.mark.skip(reason="no Chromium: install chromium-headless-shell, or set CHROMIUM to its path")
        for item in items:
            if item.get_closest_marker("browser"):
                item.add_marker(skip)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Each worker's database is a copy, in which `migrate` finds nothing to do."""
    from django.db import connection

    connection.settings_dict["TEST"]["TEMPLATE"] = template.template()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    from django.test import TransactionTestCase

    from tests import clean

    with pytest.MonkeyPatch.context() as patch:
        with django_db_blocker.unblock():
            clean.keep()
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: clean.restore())
        yield


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """Bank, mail provider and screening service for the whole run; a test clears the faults it adds."""
    with SandboxProcess(tmp_path_factory.mktemp("sandbox"), screening_seconds=0.05) as started:
        yield started


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    if CHROMIUM is None:
        pytest.fail("REQUIRE_BROWSER=1, but there is no Chromium: install it, or set CHROMIUM to its path")
    return {
        **browser_type_launch_args,
        "executable_path": CHROMIUM,
        "args": [
            *(["--no-sandbox"] if os.geteuid() == 0 else []),
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ],
    }


@pytest.fixture
def problems(page: Page) -> Iterator[list[str]]:
    """What the browser complains about; a test ends without any, unless it clears the list."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    yield found
    assert found == []
