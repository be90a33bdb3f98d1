"""The web server dies at a feed's boundaries, or altogether, while the warehouse works."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from outbox import feed_tokens
from outbox.models import Subscription
from shop.models import Shipment
from shop.simulation.warehouse import Habits, Unreachable, Warehouse
from shop.simulation.warehouse_file import WarehouseFile
from tests.integration.orders import offer
from tests.integration.picking import accepted, facts, settle, status, stock
from tests.integration.warehouse_process import differences, lines, start, wait_until
from tests.web_process import WebProcess

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def token(transactional_db: None) -> str:
    return feed_tokens.create(feed="warehouse", name="pretend")


@pytest.fixture
def web(token: str, tmp_path: Path) -> Iterator[WebProcess]:
    with WebProcess(tmp_path / "web.log") as process:
        yield process


@pytest.fixture
def warehouse(web: WebProcess, token: str, tmp_path: Path) -> Iterator[Warehouse]:
    file = WarehouseFile(tmp_path / "warehouse.jsonl")
    opened = Warehouse(file=file, base_url=web.url, token=token, habits=Habits())
    yield opened
    opened.close()


def work(warehouse: Warehouse) -> None:
    while warehouse.turn():
        pass


def test_killed_with_a_page_in_its_hands(web: WebProcess, warehouse: Warehouse, tmp_path: Path) -> None:
    (order,) = accepted(offer())
    web.start(CRASH_POINT="F1")
    with pytest.raises(Unreachable):
        warehouse.turn()
    assert lines(tmp_path, "page") == []
    assert Subscription.objects.get(name="warehouse").position == 0
    web.kill()
    web.start()
    work(warehouse)
    assert (status(order), facts(order)) == ("shipped", ["shipped"])
    assert differences(tmp_path) == []


def test_killed_with_a_shipment_committed(web: WebProcess, warehouse: Warehouse, tmp_path: Path) -> None:
    lamp = offer()
    (order,) = accepted(lamp)
    web.start(CRASH_POINT="F2")
    with pytest.raises(Unreachable):
        warehouse.turn()
    assert (status(order), facts(order)) == ("shipped", ["shipped"])
    assert lines(tmp_path, "answer") == []
    web.kill()
    web.start()
    work(warehouse)
    assert [line["status"] for line in lines(tmp_path, "answer")] == [200]
    assert (Shipment.objects.count(), stock(lamp)) == (1, (9, 0))
    assert differences(tmp_path) == []


def test_over_an_outage(web: WebProcess, token: str, tmp_path: Path) -> None:
    """Watching, it goes on by itself when the store is back."""
    lamp = offer()
    first = accepted(lamp)
    web.start()
    process = start(base_url=web.url, token=token, data=tmp_path, options=("--watch",))
    try:
        wait_until(lambda: len(lines(tmp_path, "answer")) == 1, process=process)
        web.kill()
        second = accepted(lamp)
        wait_until(lambda: b"ConnectionError" in (tmp_path / "warehouse.log").read_bytes(), process=process)
        web.start()
        wait_until(lambda: len(lines(tmp_path, "answer")) == 2, process=process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    settle()
    assert [status(order) for order in first + second] == ["shipped", "shipped"]
    assert differences(tmp_path) == []
