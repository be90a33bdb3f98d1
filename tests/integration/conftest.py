import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pytest_django import DjangoDbBlocker

from tests import clean
from tests.sandbox_process import SandboxProcess

if TYPE_CHECKING:
    from tests.integration.settled_store import Store

Json = dict[str, Any]


@pytest.fixture(scope="module")
def store(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Store"]:
    """Settled orders of every kind, with a bank and a mailbox of their own."""
    with (
        SandboxProcess(tmp_path_factory.mktemp("outside")) as sandbox,
        pytest.MonkeyPatch.context() as patch,
        django_db_blocker.unblock(),
    ):
        from tests.integration.settled_store import Store  # models: only once the settings are loaded

        yield Store(sandbox, patch)
        clean.restore()


@pytest.fixture
def books(store: "Store", db: None) -> "Store":
    """The store, whose database is as before after the test."""
    return store


@pytest.fixture
def other_world(books: "Store", tmp_path: Path, settings: Any) -> Iterator[Callable[..., None]]:
    """A function that lets the providers remember something else: the bank further versions of `objects`, and
    the mailbox only what `mails` makes of its ledger's lines."""
    started: list[SandboxProcess] = []

    def remember(*objects: Json, mails: Callable[[list[Json]], list[Json]] = lambda lines: lines) -> None:
        data = tmp_path / "outside"
        shutil.copytree(books.sandbox.data, data)
        last = max(line["n"] for line in books.sandbox.ledger())
        line = {"n": last + 1, "at": 0, "op": "forged", "objects": list(objects)}
        with (data / "bank.jsonl").open("a") as ledger:
            ledger.write(json.dumps(line, separators=(",", ":")) + "\n")
        kept = mails(books.sandbox.ledger(book="mail"))
        (data / "mail.jsonl").write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in kept))
        started.append(SandboxProcess(data).start())
        settings.STRIPE_API_BASE = settings.SENDGRID_API_BASE = started[0].url

    yield remember
    for each in started:
        each.stop()
