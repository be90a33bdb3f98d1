"""The pretend warehouse at a real server: what it promises of itself, and what it proves of the store."""

import itertools
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from django.core.management import CommandError, call_command
from pytest_django.live_server_helper import LiveServer

from outbox import feed_tokens, subscriptions
from outbox.models import LogHead, Subscription
from outbox.pipeline import WaitsFor, survey
from shop.decisions import cancel_order
from shop.models import Shipment
from shop.simulation.warehouse import Broken, Habits, Unreachable, Warehouse
from shop.simulation.warehouse_file import FileInUse, WarehouseFile
from tests.integration.orders import offer
from tests.integration.picking import accepted, concerns, facts, refunds, settle, status, stock
from tests.integration.warehouse_process import differences, lines, start, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

Open = Callable[..., Warehouse]


class Died(BaseException):
    """A process that is killed runs no handlers."""


@pytest.fixture
def token(transactional_db: None) -> str:
    return feed_tokens.create(feed="warehouse", name="pretend")


@pytest.fixture
def opened(live_server: LiveServer, tmp_path: Path, token: str) -> Iterator[Open]:
    """A warehouse at its file, as a new process would find it; the one before has ended."""
    warehouses: list[Warehouse] = []

    def reopen(**habits: Any) -> Warehouse:
        while warehouses:
            warehouses.pop().close()
        file = WarehouseFile(tmp_path / "warehouse.jsonl")
        warehouses.append(Warehouse(file=file, base_url=live_server.url, token=token, habits=Habits(**habits)))
        return warehouses[-1]

    yield reopen
    while warehouses:
        warehouses.pop().close()


def work(warehouse: Warehouse) -> None:
    while warehouse.turn():
        pass


def test_it_ships_what_was_requested(opened: Open, tmp_path: Path) -> None:
    lamp = offer()
    orders = accepted(lamp, orders=3)
    work(opened())
    settle()
    assert [status(order) for order in orders] == ["shipped"] * 3
    assert stock(lamp) == (7, 0)
    assert [line["order_id"] for line in lines(tmp_path, "report")] == orders
    assert {shipment.reported_by for shipment in Shipment.objects.all()} == {"pretend"}
    work(opened())  # what follows in the log is not for it, but its place moves on
    assert Subscription.objects.get(name="warehouse").position == LogHead.objects.get().position
    assert differences(tmp_path) == []


def test_some_goods_are_not_found(opened: Open, tmp_path: Path) -> None:
    (order,) = accepted(offer())
    work(opened(short=100.0))
    assert (status(order), refunds(order), facts(order)) == ("fulfillment_failed", 1, ["short"])
    assert differences(tmp_path) == []


def test_a_withdrawal_that_comes_in_time(opened: Open, tmp_path: Path) -> None:
    kept, withdrawn = accepted(offer(), orders=2)
    cancel_order(order_id=withdrawn, actor="shopper", reason="changed my mind")
    settle()
    work(opened())
    assert (status(kept), facts(kept)) == ("shipped", ["shipped"])
    assert (status(withdrawn), facts(withdrawn), refunds(withdrawn)) == ("cancelled", ["withdrawn"], 1)
    assert differences(tmp_path) == []


def test_a_withdrawal_that_is_not_in_the_feed_yet(opened: Open, tmp_path: Path) -> None:
    """The picklist says it first; the warehouse ships nothing and waits for the feed."""
    (order,) = accepted(offer())
    cancel_order(order_id=order, actor="shopper", reason="changed my mind")  # not relayed
    work(opened())
    assert (status(order), facts(order)) == ("cancelling", [])
    settle()
    work(opened())
    assert (status(order), facts(order)) == ("cancelled", ["withdrawn"])
    assert differences(tmp_path) == []


def test_a_withdrawal_that_crosses_the_parcel(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The goods have left, the report has not: the fact wins, nothing is refunded, nothing more is said."""
    (order,) = accepted(offer())
    with dying(monkeypatch, lambda method, path: path.endswith("/warehouse/shipments"), before=True) as deaths:
        with pytest.raises(Died):
            work(opened())
        assert deaths
    cancel_order(order_id=order, actor="shopper", reason="changed my mind")
    settle()
    work(opened())
    assert (status(order), facts(order), refunds(order), concerns(order)) == ("shipped", ["shipped"], 0, [])
    assert differences(tmp_path) == []


def test_while_it_picks_a_customer_may_still_cancel(opened: Open) -> None:
    (order,) = accepted(offer())
    warehouse = opened(picking=3600.0)
    assert warehouse.turn()
    cancel_order(order_id=order, actor="shopper", reason="changed my mind")
    settle()
    work(warehouse)
    assert facts(order) == ["withdrawn"]


# --- deaths -----------------------------------------------------------------------------------------


class dying:
    """The caller dies before sending, or after the answer, of the first request that `chosen` picks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, chosen: Callable[[str, str], bool], *, before: bool) -> None:
        self._monkeypatch = monkeypatch
        self._chosen = chosen
        self._before = before
        self._deaths: list[str] = []

    def __enter__(self) -> list[str]:
        real = requests.Session.request

        def request(session: requests.Session, method: str, url: str, **options: Any) -> requests.Response:
            if not self._chosen(method, url):
                return real(session, method, url, **options)
            self._deaths.append(url)
            if not self._before:
                real(session, method, url, **options)
            raise Died(url)

        self._monkeypatch.setattr(requests.Session, "request", request)
        return self._deaths

    def __exit__(self, *exception: object) -> None:
        self._monkeypatch.undo()


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_it_may_die_around_every_request(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """Between two requests there is only its file: so these are all the moments there are."""
    lamp = offer(stock=50)

    def die_at(number: int) -> list[str]:
        count = itertools.count()
        with dying(monkeypatch, lambda *_: next(count) == number, before=before) as deaths, suppress(Died):
            work(opened())
        return deaths

    orders: list[int] = []
    while True:
        orders += accepted(lamp)
        deaths = die_at(len(orders) - 1)
        work(opened())
        assert (status(orders[-1]), facts(orders[-1])) == ("shipped", ["shipped"])
        if not deaths:
            break
    assert len(orders) > 6, "it has hardly asked for anything"
    settle()
    work(opened())
    assert differences(tmp_path) == []
    assert Shipment.objects.count() == len(orders)


def test_killed_again_and_again(live_server: LiveServer, tmp_path: Path, token: str) -> None:
    """kill -9 of the real process, which also repeats itself and mixes up its reports."""
    lamp = offer(stock=50)
    orders = accepted(lamp, orders=25)
    options = ("--watch", "--chaos", "--short", "20")

    def begin() -> Any:
        return start(base_url=live_server.url, token=token, data=tmp_path, options=options)

    def kill_after(more: int) -> None:
        known = len(lines(tmp_path))
        process = begin()
        try:
            wait_until(lambda: len(lines(tmp_path)) >= known + more, process=process)
        finally:
            process.kill()
            process.wait()

    for _ in range(3):
        kill_after(12)
    process = begin()
    try:
        wait_until(lambda: len(lines(tmp_path, "answer")) == len(orders), process=process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert Shipment.objects.count() == len(orders)
    ends = [status(order) for order in orders]
    assert set(ends) == {"shipped", "fulfillment_failed"}
    assert stock(lamp) == (50 - ends.count("shipped"), 0)
    assert differences(tmp_path) == []


def test_a_line_torn_by_a_kill_never_was(opened: Open, tmp_path: Path) -> None:
    (order,) = accepted(offer())
    work(opened())
    with (tmp_path / "warehouse.jsonl").open("ab") as file:
        file.write(b'{"line":"report","refer')
    work(opened())
    assert facts(order) == ["shipped"]
    assert differences(tmp_path) == []


def test_one_file_is_for_one_warehouse(opened: Open, tmp_path: Path, token: str) -> None:
    opened()
    with pytest.raises(FileInUse):
        WarehouseFile(tmp_path / "warehouse.jsonl")
    with pytest.raises(CommandError, match="Another warehouse"):
        call_command("simulate_warehouse", data=tmp_path, token=token)


# --- when the store is not as it should be ------------------------------------------------------------


def test_the_store_is_away(tmp_path: Path) -> None:
    file = WarehouseFile(tmp_path / "warehouse.jsonl")
    warehouse = Warehouse(file=file, base_url="http://127.0.0.1:9", token="1.x", habits=Habits())
    with pytest.raises(Unreachable):
        warehouse.turn()
    warehouse.close()
    with pytest.raises(CommandError, match="ConnectionError"):
        call_command("simulate_warehouse", data=tmp_path, token="1.x", base_url="http://127.0.0.1:9")


def test_its_token_ends(opened: Open) -> None:
    accepted(offer())
    warehouse = opened()
    feed_tokens.revoke(feed="warehouse", name="pretend")
    with pytest.raises(Broken, match="token_invalid"):
        warehouse.turn()


def test_a_paused_feed_is_waited_for(opened: Open) -> None:
    (order,) = accepted(offer())
    subscriptions.set_paused(name="warehouse", paused=True, actor="eva", reason="stocktaking")
    warehouse = opened()
    with pytest.raises(Unreachable, match="paused"):
        warehouse.turn()
    subscriptions.set_paused(name="warehouse", paused=False, actor="eva", reason="done")
    work(warehouse)
    assert status(order) == "shipped"


def test_a_store_restored_from_an_old_backup_is_noticed(opened: Open) -> None:
    accepted(offer())
    work(opened())
    LogHead.objects.update(position=1)
    with pytest.raises(Broken, match="ahead_of_log"):
        opened().turn()


def test_a_lost_file_ships_nothing_twice(opened: Open, tmp_path: Path) -> None:
    """After a replay, a warehouse that remembers nothing asks the picklist."""
    (order,) = accepted(offer())
    work(opened())
    (tmp_path / "warehouse.jsonl").unlink()
    subscriptions.replay(name="warehouse", position=1, actor="eva", reason="their disk died")
    (late,) = accepted(offer())
    work(opened())
    assert (facts(order), facts(late)) == (["shipped"], ["shipped"])
    assert [page["after"] for page in lines(tmp_path, "page")] == [0]
    assert differences(tmp_path) == []


# --- what the operator sees ---------------------------------------------------------------------------


def test_the_store_is_quiet_when_the_warehouse_has_answered(opened: Open) -> None:
    (order,) = accepted(offer())
    waiting = {each.state for each in survey().unsettled if each.waits_for is WaitsFor.PARTNER}
    assert waiting == {"behind for warehouse", "to be picked"}
    work(opened())
    settle()
    waiting = {each.state for each in survey().unsettled if each.waits_for is WaitsFor.PARTNER}
    assert waiting == {"behind for warehouse"}
    work(opened())
    assert not [each for each in survey().unsettled if each.waits_for is WaitsFor.PARTNER]
    assert status(order) == "shipped"


def test_without_a_warehouse_nobody_waits_for_it() -> None:
    accepted(offer())
    depths = {each.state: each for each in survey().depths}
    assert depths["behind for warehouse"].waits_for is WaitsFor.NOBODY
    assert depths["behind for warehouse"].count > 0
    assert "to be picked" not in depths
