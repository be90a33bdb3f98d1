"""A PostgreSQL that lives and is no help: it commits and the acknowledgement is lost, or it refuses to work.

Of all acknowledgements a seeded quarter is lost every day; `make crash-points` loses those of each kind of transaction
(what it changes, in which order) at each of its occurrences.
"""

import os
import random
import threading
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import pytest
import requests

from outbox import registry
from tests.faults import database_faults, scenarios
from tests.faults.conftest import ALL, COMMITS
from tests.faults.crash_store import PATIENCE, VANISHED_PATIENCE, CrashStore
from tests.faults.proxy import Commit
from tests.faults.scenarios import Visit, drive
from tests.faults.striking import check_promises

PROXIED = True
pytestmark = pytest.mark.timeout(400)

# The whole path from order to money to mail to warehouse, and each way back, side by side.
EVERYTHING = (
    scenarios.shipped,
    scenarios.another_card,
    scenarios.confirmed,
    scenarios.cancelled_unpaid,
    scenarios.cancelled_paid,
    scenarios.screened,
    scenarios.refunded,
    scenarios.disputed,
)
# So many rounds lose each occurrence of each kind once; in each of them, one of so many commits.
ROUNDS = 8


class Losses:
    """Which commits are lost. Web's and worker's proxies ask about each, from threads of their own."""

    def __init__(self, choose: Callable[[tuple[str, ...], int], bool]) -> None:
        self._choose = choose
        self._asking = threading.Lock()
        self.seen: Counter[tuple[str, ...]] = Counter()
        self.lost: Counter[tuple[str, ...]] = Counter()

    def is_lost(self, commit: Commit) -> bool:
        with self._asking:
            self.seen[commit.kind] += 1
            is_lost = self._choose(commit.kind, self.seen[commit.kind])
            self.lost[commit.kind] += is_lost
        return is_lost


def lose(store: CrashStore, losses: Losses) -> None:
    """Everything happens at once while they are lost; afterwards every promise is kept."""
    visits = [Visit(store, struck=threading.Event()) for _ in EVERYTHING]
    proxies = (store.web_database, store.worker_database)
    for proxy in proxies:
        proxy.lose_commits(losses.is_lost)
    try:
        with ThreadPoolExecutor(len(visits)) as shoppers:
            traffic = [
                shoppers.submit(drive, visit, each, rounds=1) for visit, each in zip(visits, EVERYTHING, strict=True)
            ]
        for each in traffic:
            each.result()
        store.wait_quiet(seconds=VANISHED_PATIENCE)
    finally:
        for proxy in proxies:
            proxy.keep_commits()
    assert store.violations() == []
    for visit in visits:
        check_promises(store, visit)


def test_a_quarter_of_all_commits(crash_store: CrashStore) -> None:
    """Which ones says SEED; when their turn comes is up to the processes."""
    dice = random.Random(int(os.environ.get("SEED", "1")))  # noqa: S311 - no secret
    losses = Losses(lambda kind, number: dice.random() < 0.25)
    lose(crash_store, losses)
    assert losses.lost.total() > 10


@pytest.mark.skipif(not ALL, reason="a part of make crash-points")
def test_each_kind_of_commit_at_each_occurrence(crash_store: CrashStore) -> None:
    everywhere: set[tuple[str, ...]] | None = None
    lost: Counter[tuple[str, ...]] = Counter()
    for turn in range(ROUNDS):
        losses = Losses(
            lambda kind, number, turn=turn: (zlib.crc32(repr(kind).encode()) + number) % ROUNDS == turn  # type: ignore[misc]
        )
        lose(crash_store, losses)
        lost += losses.lost
        everywhere = set(losses.seen) if everywhere is None else everywhere & set(losses.seen)
    COMMITS.update(lost)
    # One that comes in every round has been lost at its first occurrence in one of them.
    assert everywhere
    assert everywhere <= set(lost)


# Each, and the loops that cannot even look for work meanwhile. With a full disk only those fail that have some.
ALL_LOOPS = "all"
REFUSALS = (
    (database_faults.disk_full, "payments"),
    (database_faults.no_connection_left, ALL_LOOPS),
    (database_faults.read_only, "payments"),
)


@pytest.mark.parametrize(("refusing", "failing"), REFUSALS, ids=[each.__name__ for each, _ in REFUSALS])
def test_what_postgres_refuses_is_said_waited_for_and_done_without_a_hand(
    crash_store: CrashStore, refusing: Callable[[CrashStore], AbstractContextManager[None]], failing: str
) -> None:
    """A shopper sends the checkout and a worker holds the bank's answer while it begins."""
    store, visit = crash_store, Visit(crash_store, struck=threading.Event())
    loops = {spec.name for spec in registry.loops()}
    failing_loops = loops if failing == ALL_LOOPS else {failing}
    errors, worker = len(store.logged("Internal Server Error")), store.worker_pid
    with visit.browsing():
        store.baton.ask_for("P6", hit=1)
        charged = visit.order()
        held = store.baton.wait(PATIENCE)
        assert held is not None
        form, data = visit.fill()
        (before,) = store.sql("SELECT count(*), (SELECT count(*) FROM payments_payment) FROM shop_order")
        with refusing(store):
            begun = {name: len(_failures(store, name)) for name in loops}
            held.go()
            _is_honest(visit.post(form, data))
            _is_honest(visit.post(form, data))
            for name in failing_loops:
                store.wait_until(lambda name=name: len(_failures(store, name)) > begun[name], f"{name} never failed")  # type: ignore[misc]
            assert requests.get(f"{store.web.url}/healthz", timeout=10).status_code == 200
            _says_so_to_machines(store)
            assert store.sql("SELECT count(*), (SELECT count(*) FROM payments_payment) FROM shop_order") == [before]
            assert visit.status(charged) == "awaiting_payment"
        places = {visit.sent(form, data), visit.sent(form, data)}
        assert len(places) == 1
        visit.paths[places.pop()] = "shipped"
        scenarios.cancelled_paid(visit)
    store.wait_quiet(seconds=PATIENCE)
    assert store.worker_pid == worker
    store.wait_until(lambda: _in_order(store) == loops, "a loop is still in trouble")
    assert store.violations() == []
    check_promises(store, visit)
    assert store.sql("SELECT count(*) FROM shop_order") == [(before[0] + 2,)]
    assert store.logged("Internal Server Error")[errors:] == []
    assert store.logged("action=unrecordable") == []  # what the bank has answered was held, not thrown away


def _failures(store: CrashStore, loop: str) -> list[str]:
    return store.logged(f"action=loop_failed loop={loop} ")


def _is_honest(answer: requests.Response) -> None:
    assert answer.status_code == 503, answer.text[:2000]
    assert int(answer.headers["Retry-After"]) > 0
    assert "We will be right back" in answer.text


def _says_so_to_machines(store: CrashStore) -> None:
    """A partner's report and a webhook are answered with what makes their senders come again."""
    bearer = {"Authorization": f"Bearer {store.feed_token}"}
    report = {"reference": "S-0", "order_id": 1, "kind": "shipped"}
    answer = requests.post(f"{store.web.url}/warehouse/shipments", json=report, headers=bearer, timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert int(answer.headers["Retry-After"]) > 0


def _in_order(store: CrashStore) -> set[str]:
    """The loops that have beaten in the last seconds, with nothing to complain about."""
    recent = "SELECT loop FROM outbox_heartbeat WHERE error = '' AND beat_at > now() - interval '7 seconds'"
    return {name for (name,) in store.sql(recent)} & {spec.name for spec in registry.loops()}
