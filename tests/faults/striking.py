"""Every point of outbox/crash_points.py × its faults × the first and second hit, on real processes; afterwards every
invariant holds. A point that is never hit fails."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from outbox.crash_points import POINTS, Fault
from tests.faults.conftest import ALL, ROWS
from tests.faults.crash_store import PATIENCE, VANISHED_PATIENCE, CrashStore
from tests.faults.scenarios import MATTERS, SCENARIOS, Visit, drive

EVERY = [(point, fault, hit) for point, known in POINTS.items() for fault in known.faults for hit in (1, 2)]
CASES = EVERY if ALL else [case for case in EVERY if case[1:] == (Fault.KILL, 1)]


# By the letters with which points begin: each part is a file, with a store of its own, and runs beside the others.
PARTS = {"orders and payments": "OKPX", "log and mails": "RDES", "edges": "CGBWFA"}


def points(part: str) -> pytest.MarkDecorator:
    """The cases of one of the PARTS."""
    cases = [case for case in CASES if case[0][0] in PARTS[part]]
    return pytest.mark.parametrize(("point", "fault", "hit"), cases, ids=[f"{p}-{f}-{n}" for p, f, n in cases])


def every_promise_is_kept(store: CrashStore, point: str, fault: Fault, hit: int) -> None:
    """Strike there, and look afterwards."""
    begun, result = time.monotonic(), "BROKEN"
    try:
        _strike(store, point, fault, hit)
        result = "kept"
    finally:
        ROWS.append((point, fault, hit, result, time.monotonic() - begun))


def _strike(store: CrashStore, point: str, fault: Fault, hit: int) -> None:
    visit = Visit(store, struck=threading.Event())
    query = MATTERS.get(point)
    store.baton.ask_for(point, hit=hit, counts=lambda: query is None or bool(store.sql(query)[0][0]))
    with ThreadPoolExecutor(1) as shopper:
        traffic = shopper.submit(drive, visit, SCENARIOS[point])
        held = None
        while held is None and not traffic.done():
            held = store.baton.wait(0.1)
        if held is None:
            # What follows the traffic may still bring it.
            held = store.baton.wait(PATIENCE if traffic.exception() is None else 0)
        store.baton.ask_no_more()
        visit.struck.set()
        if held is not None:
            store.inflict(fault, held)
        traffic.result()
    assert held is not None, f"{point} was never hit"
    store.wait_quiet(seconds=VANISHED_PATIENCE if fault is Fault.VANISH else PATIENCE)
    assert store.violations() == []
    check_promises(store, visit)
    assert store.logged("is no crash point") == []


def check_promises(store: CrashStore, visit: Visit) -> None:
    """Said once more, order by order, with other words than the books': from rows and the bank's own file."""
    intents = list(store.sandbox.bank_objects("payment_intent").values())
    refunds = list(store.sandbox.bank_objects("refund").values())
    mails = Counter(_mails(store))
    assert visit.paths
    for path, ends in visit.paths.items():
        ((order, status),) = store.sql("SELECT id, status FROM shop_order WHERE token = %s", path.split("/")[2])
        assert status == ends, f"{path} is {status}"
        ours = [each for each in intents if each["metadata"]["order_id"] == str(order)]
        charged = [each for each in ours if each["status"] == "succeeded"]
        ((was_paid,),) = store.sql("SELECT status = 'succeeded' FROM payments_payment WHERE order_id = %s", order)
        assert len(charged) == int(was_paid), f"{path} is charged {len(charged)} times"
        back = [each for each in refunds if each["payment_intent"] in {intent["id"] for intent in charged}]
        ((rows,),) = store.sql(
            "SELECT count(*) FROM payments_refund JOIN payments_payment p ON p.id = payment_id WHERE p.order_id = %s",
            order,
        )
        assert len(back) == rows
        if ends == "cancelled":
            assert sum(each["amount"] for each in back) == sum(each["amount"] for each in charged)
    assert [key for key, count in mails.items() if count > 1] == [], "a mail was accepted twice"


def _mails(store: CrashStore) -> list[str]:
    """The message id that each accepted mail carried."""
    found: list[Any] = [each for line in store.sandbox.ledger(book="mail") for each in line.get("messages", [])]
    return [str(each["custom_args"]["message_id"]) for each in found]
