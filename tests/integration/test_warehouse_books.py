"""The books against the warehouse's file: they hold, and each thing that is broken on purpose is named."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker
from pytest_django.live_server_helper import LiveServer

from outbox import feed_tokens
from shop.decisions import cancel_order
from shop.simulation.warehouse import Habits, Warehouse
from shop.simulation.warehouse_file import WarehouseFile
from tests import clean
from tests.integration.orders import offer
from tests.integration.picking import accepted, settle
from tests.integration.warehouse_process import differences

Json = dict[str, Any]


@pytest.fixture(scope="module")
def file(
    django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Two orders shipped, one withdrawn, in two pages; and what the warehouse has written."""
    path = tmp_path_factory.mktemp("warehouse") / "warehouse.jsonl"
    with django_db_blocker.unblock():
        try:
            _work(path)
            yield path
        finally:
            clean.restore()


def _work(path: Path) -> None:
    server = LiveServer("127.0.0.1")
    token = feed_tokens.create(feed="warehouse", name="pretend")
    warehouse = Warehouse(file=WarehouseFile(path), base_url=server.url, token=token, habits=Habits())
    try:
        lamp = offer()
        withdrawn, _ = accepted(lamp, orders=2)
        cancel_order(order_id=withdrawn, actor="shopper", reason="changed my mind")
        settle()
        warehouse.turn()
        accepted(lamp)
        warehouse.turn()
    finally:
        warehouse.close()
        server.stop()


@pytest.fixture
def changed(file: Path, tmp_path: Path, db: None) -> Callable[[Callable[[list[Json]], object]], list[tuple[str, str]]]:
    """What the books say of the file after a change of its lines: invariants and what differs."""

    def change(tamper: Callable[[list[Json]], object]) -> list[tuple[str, str]]:
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        tamper(lines)
        (tmp_path / "warehouse.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return sorted({(each["invariant"], each["what"]) for each in differences(tmp_path)})

    return change


def of(lines: list[Json], kind: str) -> list[Json]:
    return [line for line in lines if line["line"] == kind]


PAGE = ("Q6", "a page of the warehouse's file")
EVENT = ("Q6", "an event of the warehouse's feed")
ORDER = ("Q6", "the warehouse's sequence for an order")
ACKNOWLEDGED = ("Q6", "what the warehouse acknowledged")
REPORT = ("Q7", "a report of the warehouse")
SHIPPED = ("S6", "what the warehouse shipped")

TAMPERED: dict[str, tuple[Callable[[list[Json]], object], list[tuple[str, str]]]] = {
    "nothing": (lambda lines: None, []),
    "an event was missed": (lambda lines: of(lines, "page")[0]["events"].pop(1), [EVENT, SHIPPED]),
    "an event was taken twice": (
        lambda lines: of(lines, "page")[1]["events"].insert(0, of(lines, "page")[0]["events"][0]),
        [EVENT, ORDER],
    ),
    "an event says something else": (
        lambda lines: of(lines, "page")[0]["events"][0]["data"].update(lines=[]),
        [EVENT],
    ),
    "an event is another": (lambda lines: of(lines, "page")[0]["events"][0].update(id="x"), [EVENT]),
    "an order's events changed places": (lambda lines: of(lines, "page")[0]["events"].reverse(), [ORDER]),
    "a gap between the pages": (lambda lines: of(lines, "page")[0].update(through=1), [PAGE]),
    "a page was lost": (
        lambda lines: lines.remove(of(lines, "page")[1]),
        [ACKNOWLEDGED, EVENT, SHIPPED],
    ),
    "a report was changed": (lambda lines: of(lines, "report")[0].update(tracking="other"), [REPORT]),
    "a report was forgotten": (lambda lines: lines.remove(of(lines, "report")[0]), [REPORT]),
    "a report never arrived": (
        lambda lines: lines.extend(
            [
                {**of(lines, "report")[0], "reference": "mine-9"},
                {"line": "answer", "reference": "mine-9", "status": 201},
            ]
        ),
        [REPORT],
    ),
    "something left twice": (
        lambda lines: lines.append({**of(lines, "report")[-1], "reference": "mine-9"}),
        [SHIPPED],
    ),
    "something left that nobody asked for": (
        lambda lines: lines.append({**of(lines, "report")[-1], "reference": "mine-9", "order_id": 999_999}),
        [SHIPPED],
    ),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_the_file_is_changed(changed: Callable[..., list[tuple[str, str]]], case: str) -> None:
    tamper, expected = TAMPERED[case]
    assert changed(tamper) == sorted(expected)


BROKEN: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "a report was deleted": ("DELETE FROM shop_shipment WHERE kind = 'withdrawn'", [REPORT]),
    "a report was altered": ("UPDATE shop_shipment SET carrier = 'x' WHERE kind = 'shipped'", [REPORT]),
    "a report was invented": (
        "INSERT INTO shop_shipment (reference, order_id, kind, carrier, tracking, reported_by) "
        "SELECT reference || 'x', order_id, kind, carrier, tracking, reported_by FROM shop_shipment LIMIT 1",
        [REPORT],
    ),
    "an event vanished": ("DELETE FROM outbox_event WHERE type = 'PicklistWithdrawn'", [EVENT]),
    "the cursor ran away": (
        "UPDATE outbox_subscription SET position = position + 1 WHERE name = 'warehouse'",
        [ACKNOWLEDGED],
    ),
    "shipped and not paid": (
        "UPDATE payments_payment SET status = 'unknown', settled_at = NULL "
        "WHERE order_id = (SELECT max(order_id) FROM shop_shipment WHERE kind = 'shipped')",
        [("S6", "a shipped order"), SHIPPED],
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_the_database_is_broken(changed: Callable[..., list[tuple[str, str]]], case: str) -> None:
    statement, expected = BROKEN[case]
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(statement)
        cursor.execute("SET LOCAL session_replication_role = origin")
    assert changed(lambda lines: None) == sorted(expected)


def test_a_file_that_cannot_be_read(file: Path, db: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{}\nnonsense\n")
    for path in (broken, tmp_path / "missing"):
        with pytest.raises(SystemExit) as end:
            call_command("check_money", "--warehouse-file", str(path), "--invariant", "Q6")
        assert end.value.code == 2
        assert str(path) in capsys.readouterr().out.replace("\n", "")


def test_without_a_file_the_books_say_so(file: Path, db: None, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("check_money", "--invariant", "Q6")
    assert "--warehouse-file" in capsys.readouterr().out
