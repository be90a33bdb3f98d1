"""What must be true, by rows and by the bank's own books: in every state, and at every end once it is quiet.

Nothing here is asked of the code that is judged. The ends are also given to the audit behind `check_money`.
"""

import datetime as dt
from collections import Counter
from typing import Any

from outbox import audit
from payments.refund_worker import make_engine as make_refunds
from payments.worker import make_engine as make_payments
from shop import decisions
from tests.schedules.stage import Rows, Stage

FINAL = ("succeeded", "failed", "canceled")
NO_REFUND = ("failed", "canceled")
# Backoffs, leases, the hold: after so many steps of the clock nothing may be left to wait for.
TURNS = 12


def always(stage: Stage, rows: Rows) -> list[str]:
    """S1, S2, S3, S5 and S6, cheaply: by what was read anyway."""
    intents = {intent["id"]: intent for intent in stage.bank.objects("payment_intent")}
    back = _sent_back(stage)
    wrong: list[str] = []
    for payment in rows["payments_payment"]:
        ours = [each for each in intents.values() if each["metadata"].get("payment") == payment["public_id"]]
        charged = [each for each in ours if each["status"] == "succeeded"]
        refunds = [each for each in rows.get("payments_refund", ()) if each["payment_id"] == payment["id"]]
        if len(charged) > 1:
            wrong.append(f"S1: charged {len(charged)} times")
        if any(each["amount_received"] != payment["amount"] for each in charged):
            wrong.append("S1: charged another amount")
        if payment["status"] == "succeeded" and payment["intent_id"] not in [each["id"] for each in charged]:
            wrong.append("S1: paid, and not charged at the bank")
        if sum(back[each["id"]] for each in ours) > sum(each["amount_received"] for each in charged):
            wrong.append("S2: the bank has sent back more than it charged")
        if sum(each["amount"] for each in refunds if each["status"] not in NO_REFUND) > payment["amount"]:
            wrong.append("S2: our refunds are more than the charge")
        if payment["status"] in NO_REFUND and charged and not refunds:
            wrong.append(f"S3: charged at the bank, and {payment['status']} here")
        if payment["settled_at"] is None and "released" in _holds(rows, payment["order_id"]):
            wrong.append(f"S5: the hold is released while the payment is {payment['status']}")
    for stock in rows["shop_stock"]:
        if not 0 <= stock["reserved"] <= stock["on_hand"]:
            wrong.append(f"S5: {stock['reserved']} reserved of {stock['on_hand']}")
    paid = {payment["order_id"] for payment in rows["payments_payment"] if payment["status"] == "succeeded"}
    for order in rows["shop_order"]:
        if order["status"] == "shipped" and order["id"] not in paid:
            wrong.append("S6: shipped, and not paid")
    return wrong


class Quiet:
    """Lets everything settle as the store does by itself, then looks at the books.

    The audit is slow beside everything else: it is asked once about ends that differ in nothing but ids, times and how
    often something was tried.
    """

    def __init__(self) -> None:
        self._audited: set[str] = set()

    def __call__(self, stage: Stage) -> list[str]:
        settle(stage)
        rows = stage.rows()
        wrong = [*always(stage, rows), *_at_the_end(stage, rows)]
        essence = _essence(stage, rows)
        if essence not in self._audited:
            self._audited.add(essence)
            stage.feed_everybody()
            wrong += _audited()
        return wrong


def settle(stage: Stage) -> None:
    """Workers, facts, the warehouse and the clock, until nothing is left to wait for."""
    for _ in range(TURNS):
        stage.settle_facts()
        _warehouse_answers(stage)
        if stage.control.one(f"{_NEXT} FROM shop_order") is not None:
            decisions.expire_holds()
        for table, make in (("payments_payment", make_payments), ("payments_refund", make_refunds)):
            if stage.control.one(f"SELECT 1 FROM {table} WHERE due_at <= statement_timestamp()"):  # noqa: S608
                stage.work(make)
        if stage.control.one("SELECT 1 FROM outbox_outboxrecord LIMIT 1"):
            continue
        later = stage.control.one(_NEXT_OF_ALL)
        if later is None:
            return
        stage.control.set_clock(max(later, stage.control.now) + dt.timedelta(seconds=1))


_NEXT = "SELECT min(hold_until)"
_NEXT_OF_ALL = (
    "SELECT min(due_at) FROM (SELECT due_at FROM payments_payment UNION ALL SELECT due_at FROM payments_refund "
    "UNION ALL SELECT hold_until FROM shop_order) AS all_of_them"
)


def _essence(stage: Stage, rows: Rows) -> str:
    """The rows and the bank's objects without what names and dates them."""
    tables = [(table, _plain(rows[table], often=table not in _JOURNALS)) for table in sorted(rows)]
    bank = [_plain(stage.bank.objects(kind), often=True) for kind in ("payment_intent", "charge", "refund")]
    return repr((tables, bank))


def _plain(rows: list[dict[str, Any]], *, often: bool) -> list[str]:
    """`often`: it matters how often an equal row is there."""
    plain = [repr(sorted((name, row[name]) for name in row.keys() & _TELLING)) for row in rows]
    return sorted(plain if often else set(plain))


_JOURNALS = ("payments_paymentattempt", "outbox_decision")


_TELLING = frozenset(
    {
        *("status", "hold", "kind", "type", "phase", "outcome", "card_no", "generation", "amount", "amount_received"),
        *("amount_refunded", "claim_lost", "quantity", "on_hand", "reserved", "blocked_reason", "failure_code"),
        *("refunded", "requested_by", "approved_by", "cancelled_by", "reason"),
    }
)


def _warehouse_answers(stage: Stage) -> None:
    """What was withdrawn stays; what was asked for is shipped."""
    for order in stage.rows()["shop_order"]:
        if order["process"].get("picking"):
            kind = "shipped" if order["status"] == "accepted" else "withdrawn"
            reference = f"end-{order['id']}"
            decisions.record_shipment(reference=reference, order_id=order["id"], kind=kind, reported_by="warehouse")


def _at_the_end(stage: Stage, rows: Rows) -> list[str]:
    wrong: list[str] = []
    events = Counter(event["type"] for event in rows["outbox_event"])
    for event in ("PaymentProcessed", "OrderPaid", "OrderAccepted", "OrderCancelled", "OrderShipped"):
        if events[event] > 1:
            wrong.append(f"Q3: {events[event]} times {event}")
    declined = {
        (event["aggregateid"], event["payload"]["card_no"])
        for event in rows["outbox_event"]
        if event["type"] == "PaymentDeclined"
    }
    refused = [charge for charge in stage.bank.objects("charge") if charge["status"] == "failed"]
    if len(declined) > len(refused):
        wrong.append(f"{len(declined)} cards are called declined, and the bank has declined {len(refused)}")
    charged = {each["metadata"]["order_id"] for each in _succeeded(stage)}
    back = _sent_back(stage)
    net = {each["metadata"]["order_id"]: each["amount_received"] - back[each["id"]] for each in _succeeded(stage)}
    asked = {concern["order_id"] for concern in rows.get("shop_concern", ())}
    for payment in rows["payments_payment"]:
        is_charged = str(payment["order_id"]) in charged
        if payment["status"] not in FINAL:
            wrong.append(f"Q8: the payment is {payment['status']} for ever")
        if is_charged != (payment["status"] == "succeeded"):
            said = "charged" if is_charged else "not charged"
            wrong.append(f"Q1: {said} at the bank, and {payment['status']} here")
    for order in rows["shop_order"]:
        wrong += _order_ends(order, net.get(str(order["id"]), 0), _holds(rows, order["id"]), order["id"] in asked)
    return wrong


def _order_ends(order: dict[str, Any], net: int, holds: set[str], asked: bool) -> list[str]:
    match order["status"]:
        case "shipped":
            right, hold = net > 0, {"consumed"}
        case "cancelled" | "payment_failed" | "fulfillment_failed":
            right, hold = net == 0 or asked, {"released"}
        case status:
            return [f"Q8: the order is {status} for ever"]
    wrong = [] if right else [f"Q2: the order is {order['status']}, and the bank keeps {net}"]
    if holds != hold and not asked:
        wrong.append(f"Q5: the order is {order['status']}, and its goods are {', '.join(sorted(holds))}")
    return wrong


def _audited() -> list[str]:
    """The store's own outside view, the mails' apart: nobody sends them here."""
    checks = [each for each in audit.checks() if not each.run.__module__.startswith("notifications")]
    results = audit.audit(checks)
    return [
        *(f"{result.check.invariant}: not read: {result.unreadable}" for result in results if result.unreadable),
        *(
            f"{result.check.invariant}: {each.what}: expected {each.expected}, found {each.found}"
            for result in results
            for each in result.differences
        ),
    ]


def _succeeded(stage: Stage) -> list[dict[str, Any]]:
    return [each for each in stage.bank.objects("payment_intent") if each["status"] == "succeeded"]


def _sent_back(stage: Stage) -> Counter[str]:
    """By intent, what the bank has sent back or promised to."""
    sent: Counter[str] = Counter()
    for refund in stage.bank.objects("refund"):
        if refund["status"] not in NO_REFUND:
            sent[refund["payment_intent"]] += refund["amount"]
    return sent


def _holds(rows: Rows, order_id: int) -> set[str]:
    return {line["hold"] for line in rows["shop_orderline"] if line["order_id"] == order_id}
