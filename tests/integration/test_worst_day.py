"""The worst day, with whole orders: the database is lost and restored from a backup, while bank, mail provider and
warehouse are ahead of it. The steps are those of docs/operations.md, on real processes."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from tests.integration.partner import Partner, problem
from tests.web_process import ROOT

if TYPE_CHECKING:
    from tests.faults.crash_store import CrashStore

Json = dict[str, Any]
RUNBOOK = Path(__file__).parents[2] / "docs" / "operations.md"
NUMBERS = (
    "SELECT setval(pg_get_serial_sequence('shop_order', 'id'), "
    "nextval(pg_get_serial_sequence('shop_order', 'id')) + 100000)"
)
# What is done, as it is written there; in this order.
STEPS = (
    "migrate --check",
    "check_money --live",
    NUMBERS,
    "set_paused(name='warehouse', paused=True",
    "`reconcile_payments`, while no worker runs",
    "Start the workers and the scheduler, not yet the web server",
    "`reconcile_payments` once more",
    "Start the web server",
    "repeat its reports",
    "set_paused(name='warehouse', paused=False",
    "pipeline_status --wait-quiet 600",
)


def test_the_runbook_says_what_is_done_here() -> None:
    text = " ".join(RUNBOOK.read_text().split("## Backup and restore")[1].split())
    places = [text.find(step) for step in STEPS]
    assert -1 not in places
    assert places == sorted(places)


@pytest.fixture
def store(django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory) -> Iterator["CrashStore"]:
    from tests.faults.crash_store import CrashStore  # models: only once the settings are loaded

    with django_db_blocker.unblock(), CrashStore(tmp_path_factory.mktemp("worst-day")) as store:
        yield store
        with psycopg.connect(store.address("postgres"), autocommit=True) as session:
            session.execute(f"DROP DATABASE IF EXISTS {backup_of(store)} WITH (FORCE)".encode())


def backup_of(store: "CrashStore") -> str:
    return f"{store.role}_backup"


@dataclass(frozen=True, kw_only=True)
class Outside:
    """What bank and mailbox have: charges by order, refunds, mails by subject."""

    charges: Counter[int]
    refunds: int
    mails: Counter[str]


class Day:
    """What happened to each order, by name: the address of its page, and its id."""

    def __init__(self, store: "CrashStore") -> None:
        from tests.faults.scenarios import Visit

        self.store = store
        self.visit = Visit(store=store, struck=threading.Event())
        self.paths: dict[str, str] = {}
        self.ids: dict[str, int] = {}

    def place(self, name: str, **chosen: str) -> str:
        self.visit.round(lambda visit: self.paths.update({name: visit.order(**chosen)}))
        token = self.paths[name].split("/")[2]
        ((self.ids[name],),) = self.store.sql("SELECT id FROM shop_order WHERE token = %s", token)
        return self.paths[name]

    def until(self, name: str, *statuses: str, ships: bool = False) -> None:
        (self.visit.wait_with_warehouse if ships else self.visit.wait)(self.paths[name], *statuses)

    # --- backup and restore -----------------------------------------------------------------------

    def stop(self) -> None:
        """As the machine dies: what is claimed stays claimed."""
        self.store.end_worker()
        self.store.web.kill()
        connection.close()

    def start_web(self) -> None:
        self.store.web.start(**self.store.environment_of(self.store.web_database))

    def copy(self, source: str, copy: str) -> None:
        with psycopg.connect(self.store.address("postgres"), autocommit=True) as session:
            session.execute(f'DROP DATABASE IF EXISTS "{copy}" WITH (FORCE)'.encode())
            session.execute(b"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [source])
            session.execute(f'CREATE DATABASE "{copy}" TEMPLATE "{source}" OWNER {self.store.role}'.encode())

    # --- the outside world ------------------------------------------------------------------------

    def charges(self) -> Counter[int]:
        """Successful charges at the bank by the order's id in the metadata."""
        intents = self.store.sandbox.bank_objects("payment_intent")
        charged = [each for each in self.store.sandbox.bank_objects("charge").values() if each["status"] == "succeeded"]
        return Counter(int(intents[each["payment_intent"]]["metadata"]["order_id"]) for each in charged)

    def refunds(self) -> int:
        return len(self.store.sandbox.bank_objects("refund"))

    def mails(self) -> Counter[str]:
        """Mails in the mailbox by subject, which has the order's number."""
        found: Counter[str] = Counter()
        for line in self.store.sandbox.ledger(book="mail"):
            for message in line.get("messages", []):
                found[message["subject"]] += 1
        return found


def run(store: "CrashStore", *arguments: str) -> tuple[int, str]:
    """A command in a process of its own; its exit code and what it printed."""
    environment = {**os.environ, **store.environment_of(store.worker_database), "CRASH_BATON": ""}
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def machines_are_idle(store: "CrashStore") -> None:
    from outbox.pipeline import WaitsFor, survey

    def idle() -> bool:
        store.end_leases()
        return not [each for each in survey().depths if each.waits_for == WaitsFor.MACHINE and each.count]

    store.wait_until(idle, "the machines are never idle")


HEALED = ("another card later", "being charged", "placed, and nobody has looked yet")


@pytest.mark.timeout(420)
def test_the_worst_day(store: "CrashStore", tmp_path: Path) -> None:
    name = connection.settings_dict["NAME"]
    day = Day(store)
    slow = like_any_other(day)
    day.copy(name, backup_of(store))
    kept = day.mails()
    store.sandbox.remove_fault(slow)
    before, ahead = all_this_is_lost(day)
    reports = [line for line in _lines(store.warehouse_file) if line["line"] == "report"]
    day.stop()
    day.copy(backup_of(store), name)
    the_disk_has_died(day)
    the_bank_first(day, before)
    then_the_warehouse(day, reports, ahead=ahead, lost_history=tmp_path / "lost-history.jsonl")
    what_is_left(day, before, kept)


def like_any_other(day: Day) -> int:
    """Until the backup, which finds workers in the middle of their calls; the fault that makes the bank slow."""
    from tests.faults.scenarios import DECLINED

    store = day.store
    for each in ("shipped", "refunded later"):
        day.place(each)
        day.until(each, "shipped", ships=True)
    day.place("another card later", card=DECLINED)
    day.until("another card later", "payment_declined")
    day.place("cancelled later")
    day.until("cancelled later", "accepted")
    slow = store.sandbox.add_fault("payment_intents.confirm", "delay", seconds=4, times=1)
    day.place("being charged")
    store.wait_until(
        lambda: bool(store.sql("SELECT 1 FROM payments_payment WHERE token IS NOT NULL AND intent_id <> ''")),
        "its confirm is never under way",
    )
    store.end_worker()
    day.place("placed, and nobody has looked yet")
    day.stop()
    return slow


def all_this_is_lost(day: Day) -> tuple[Outside, int]:
    """The day goes on. What is outside at its end, and how far the log had come."""
    from tests.faults.scenarios import DECLINED

    store = day.store
    day.start_web()
    store.start_worker()
    store.dead.extend(_claimers(store))
    day.visit.round(lambda visit: visit.refund(day.paths["refunded later"]))
    day.visit.round(lambda visit: visit.give_card(day.paths["another card later"]))
    day.visit.round(lambda visit: visit.cancel(day.paths["cancelled later"]))
    day.until("cancelled later", "cancelled", ships=True)
    for each in HEALED:
        day.until(each, "shipped", ships=True)
    day.place("lost")
    day.until("lost", "shipped", ships=True)
    day.place("lost and declined", card=DECLINED)
    day.until("lost and declined", "payment_declined")
    store.wait_quiet(seconds=60)
    assert store.violations() == []
    before = Outside(charges=day.charges(), refunds=day.refunds(), mails=day.mails())
    assert max(before.charges.values()) == 1
    assert before.refunds == 2
    ((ahead,),) = store.sql("SELECT position FROM outbox_loghead")
    return before, ahead


def the_disk_has_died(day: Day) -> None:
    """Steps 1 to 5."""
    store = day.store
    store.warehouse.close()
    assert run(store, "migrate", "--check")[0] == 0
    code, said = run(store, "check_money", "--live", "--json")
    assert code == 1
    listed = {each["found"] + each["expected"] for each in _differences(said)}
    assert any(_intent(store, day.ids["lost"]) in each for each in listed)
    store.sql(NUMBERS)
    _set_paused(True, "restored")


def the_bank_first(day: Day, before: Outside) -> None:
    """Steps 6 to 8, then the workers."""
    from payments.models import Difference, Payment
    from shop.models import Order

    store = day.store
    store.end_leases()
    code, said = run(store, "reconcile_payments")
    assert code == 1, said
    assert " 1 ids found again" in said, "of the order that nobody had looked at"
    assert "workers' hands" not in said, "claims of the backup are over"
    store.start_worker()
    machines_are_idle(store)
    code, said = run(store, "reconcile_payments")
    assert code == 1, said
    assert day.charges() == before.charges, "nobody was charged again"
    assert day.refunds() == before.refunds, "nothing was refunded again"
    for each in ("shipped", "refunded later", "cancelled later", *HEALED):
        assert Payment.objects.get(order_id=day.ids[each]).status == "succeeded", each
    for each in HEALED:
        assert Order.objects.get(pk=day.ids[each]).status == "accepted", each
    waiting = Difference.objects.filter(resolved_at__isnull=True, healing=False)
    assert sorted(waiting.values_list("kind", "order_id")) == sorted(
        [
            ("unknown_payment", day.ids["lost"]),
            ("refund_without_row", day.ids["refunded later"]),
            ("refund_without_row", day.ids["cancelled later"]),
        ]
    )


def then_the_warehouse(day: Day, reports: list[Json], *, ahead: int, lost_history: Path) -> None:
    """Steps 9 and 10: it repeats its reports, and begins anew where the log is now."""
    store = day.store
    day.start_web()
    partner = Partner("warehouse", name="theirs")
    assert problem(partner.get("/feeds/warehouse", after=ahead)) == (503, "paused")
    for report in reports:
        body = {key: report[key] for key in ("reference", "sequence", "order_id", "kind", "carrier", "tracking")}
        answer = partner.post("/warehouse/shipments", body)
        lost = report["order_id"] == day.ids["lost"]
        assert answer.status_code in ((404,) if lost else (200, 201)), answer.content
    store.warehouse_file.rename(lost_history)
    _set_paused(False, "their place is ours")
    _warehouse_with_a_new_place(store)
    day.place("after the restore")
    assert day.ids["after the restore"] > 100_000, "no number of a lost order is given again"
    day.until("after the restore", "shipped", ships=True)
    store.wait_quiet(seconds=60)
    for each in HEALED:
        day.until(each, "shipped")
    shipped = [line for line in _lines(store.warehouse_file) if line["line"] == "report" and line["kind"] == "shipped"]
    assert [each["order_id"] for each in shipped] == [day.ids["after the restore"]], "nothing was shipped a second time"


def what_is_left(day: Day, before: Outside, kept: Counter[str]) -> None:
    """Steps 11 and 12: what is with a person, and mails; `kept`: those that the backup knows of."""
    from shop.models import Order

    store = day.store
    run(store, "reconcile_payments")
    _, said = run(store, "check_money", "--json", "--warehouse-file", str(store.warehouse_file))
    mails = day.mails()
    twice = [subject for subject, times in mails.items() if times > 1]
    assert max(mails.values()) == 2
    handled_again = {Order.objects.get(pk=day.ids[each]).number for each in HEALED}
    assert all(any(number in subject for number in handled_again) for subject in twice), twice
    assert twice
    left = Counter((each["invariant"], each["what"]) for each in _differences(said))
    assert left == {("Q4", "an accepted mail"): sum((before.mails - kept).values())}, (
        "what is said of mails, and no more"
    )
    with_a_person = {(each["invariant"], each["what"]) for each in _excused(said)}
    assert with_a_person == {
        ("S1", "a charge's payment"),
        ("Q1", "the journal of an intent"),
        ("Q2", "a refund at the bank"),
    }
    assert day.charges() - before.charges == Counter({day.ids["after the restore"]: 1})
    assert day.refunds() == before.refunds


def _claimers(store: "CrashStore") -> list[int]:
    return [
        int(who.rpartition(":")[2]) for (who,) in store.sql("SELECT DISTINCT claimed_by FROM payments_payment") if who
    ]


def _set_paused(paused: bool, reason: str) -> None:
    from outbox.subscriptions import set_paused

    set_paused(name="warehouse", paused=paused, actor="ada", reason=reason)


def _warehouse_with_a_new_place(store: "CrashStore") -> None:
    from outbox import feed_tokens
    from shop.simulation.warehouse import Habits, Warehouse
    from shop.simulation.warehouse_file import WarehouseFile

    token = feed_tokens.create(feed="warehouse", name="again")
    store.warehouse = Warehouse(
        file=WarehouseFile(store.warehouse_file), base_url=store.web.url, token=token, habits=Habits()
    )


def _lines(file: Path) -> list[Json]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _intent(store: "CrashStore", order: int) -> str:
    intents = store.sandbox.bank_objects("payment_intent").values()
    return next(str(each["id"]) for each in intents if each["metadata"]["order_id"] == str(order))


def _differences(said: str) -> list[Json]:
    answer = json.loads(said[said.index("{") :])
    return [{"invariant": each["invariant"], **found} for each in answer["checks"] for found in each["differences"]]


def _excused(said: str) -> list[Json]:
    answer = json.loads(said[said.index("{") :])
    return [{"invariant": each["invariant"], **found} for each in answer["checks"] for found in each["excused"]]
