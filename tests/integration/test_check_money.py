"""The books: right after real orders of every kind, and each check names what is broken on purpose."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import InternalError

from outbox import parking
from outbox.models import Envelope, Event, ParkedEvent
from tests.integration.settled_store import Json, Store, check, drop_constraint, execute, found


def test_nothing_differs(books: Store) -> None:
    status, answer = check()
    assert found(answer) == set()
    assert status == 0
    assert {each["invariant"] for each in answer["checks"]} >= {"S1", "S2", "S3", "S4", "S5"}
    assert {each["invariant"] for each in answer["checks"]} >= {"Q1", "Q2", "Q3", "Q4", "Q5", "Q8"}


def test_a_check_cannot_write(books: Store) -> None:
    from outbox.audit import Check, Finding, audit

    def write() -> list[Finding]:
        execute("UPDATE shop_stock SET on_hand = 0")
        return []

    with pytest.raises(InternalError, match="read-only"):
        audit([Check(invariant="S0", claim="", always=True, sources=(), run=write)])
    execute("UPDATE shop_stock SET on_hand = on_hand")  # and afterwards one may again


def test_only_what_was_asked_for(books: Store) -> None:
    assert {each["invariant"] for each in check("--invariant", "S1", "Q5")[1]["checks"]} == {"S1", "Q5"}
    assert {each["invariant"][0] for each in check("--live")[1]["checks"]} == {"S"}
    with pytest.raises(CommandError, match="No check is called 'X9'"):
        check("--invariant", "X9")


# --- broken in the database ------------------------------------------------------------------------

BROKEN: dict[str, tuple[str, str, str, str | None]] = {
    # What was done: (statement, invariant, what differs, the order's attribute).
    "a payment asks for less": (
        "UPDATE payments_payment SET amount = amount - 1 WHERE order_id = {paid}",
        "S1",
        "a payment's amount",
        "paid",
    ),
    "a payment without an order": (
        "UPDATE payments_payment SET order_id = -{rejected} WHERE order_id = {rejected}",
        "S1",
        "a payment's amount",
        "nobody",
    ),
    "lines do not add up": (
        "UPDATE shop_orderline SET quantity = quantity + 1 WHERE order_id = {paid}",
        "S1",
        "an order's sum",
        "paid",
    ),
    "paid without a charge": (
        "UPDATE payments_payment SET status = 'succeeded', settled_at = now() WHERE order_id = {declined}",
        "S1",
        "a paid payment's intent",
        "declined",
    ),
    "charged without a payment": (
        "DELETE FROM payments_payment WHERE order_id = {paid}",
        "S1",
        "a charge's payment",
        "paid",
    ),
    "charged and called canceled": (
        "UPDATE payments_payment SET status = 'canceled' WHERE order_id = {paid}",
        "S3",
        "the intents of a payment that ended without money",
        "paid",
    ),
    "charged and called unknown": (
        "UPDATE payments_payment SET status = 'unknown', settled_at = NULL WHERE order_id = {paid}",
        "Q1",
        "the payment of a charge",
        "paid",
    ),
    "released too early": (
        "UPDATE shop_orderline SET hold = 'released' WHERE order_id = {asked}",
        "S5",
        "a released hold",
        "asked",
    ),
    "a card was tried without a journal": (
        "DELETE FROM payments_paymentattempt WHERE phase = 'confirm' AND payment_id = ("
        "SELECT id FROM payments_payment WHERE order_id = {declined})",
        "Q1",
        "the journal of an intent",
        "declined",
    ),
    "an intent that the bank never had": (
        "UPDATE payments_payment SET intent_id = 'pi_other' WHERE order_id = {declined}",
        "Q1",
        "the intent of a payment",
        "declined",
    ),
    "a cancelled order that cost money": (
        "UPDATE shop_order SET status = 'cancelled' WHERE id = {paid}",
        "Q2",
        "the net of an ended order",
        "paid",
    ),
    "picked before it was paid": (
        "DELETE FROM outbox_event WHERE type = 'PaymentProcessed' AND aggregateid = '{paid}'",
        "S6",
        "a picklist",
        "paid",
    ),
    "shipped and not paid": (
        "UPDATE shop_order SET status = 'shipped' WHERE id = {declined}",
        "S6",
        "a shipped order",
        "declined",
    ),
    "a guard switched off": (
        "ALTER TABLE outbox_event DISABLE TRIGGER append_only",
        "S7",
        "a guard",
        None,
    ),
    "a guard taken away": (
        "DROP TRIGGER declared_transitions ON shop_order",
        "S7",
        "a guard",
        None,
    ),
    "a decision without a name": (
        "ALTER TABLE outbox_decision DISABLE TRIGGER USER; UPDATE outbox_decision SET before = '';"
        " ALTER TABLE outbox_decision ENABLE TRIGGER USER",
        "S7",
        "a decision",
        "cancelled",
    ),
    "a refund that nobody asked for": (
        "UPDATE payments_refund SET requested_by = '' WHERE amount = 500",
        "S7",
        "a refund's approval",
        "also_paid",
    ),
    "picked twice": (
        "INSERT INTO outbox_outboxrecord (id, aggregatetype, aggregateid, type, version, payload, headers) "
        "SELECT gen_random_uuid(), aggregatetype, aggregateid, type, version, payload, headers "
        "FROM outbox_event WHERE type = 'PicklistRequested' AND aggregateid = '{paid}'",
        "Q3",
        "picklists",
        "paid",
    ),
    "shipped and still here": (
        "UPDATE shop_orderline SET hold = 'held' WHERE order_id = {shipped}",
        "Q5",
        "a line's hold",
        "shipped",
    ),
    "a clock that stands still": (
        "UPDATE shop_order SET hold_until = NULL WHERE id = {declined}",
        "Q8",
        "a hold's clock",
        "declined",
    ),
    "more refunds than money": (
        "UPDATE payments_refund SET amount = 1000000 WHERE amount = 500",
        "S2",
        "a payment's refunds",
        "also_paid",
    ),
    "a refund that the bank never had": (
        "UPDATE payments_refund SET refund_id = 're_other', public_id = gen_random_uuid() WHERE amount = 500",
        "Q2",
        "a refund",
        "also_paid",
    ),
    "a refund under another name": (
        "UPDATE payments_refund SET status = 'failed' WHERE amount = 500",
        "Q2",
        "a refund",
        "also_paid",
    ),
    "a refund that nobody heard of": (
        "DELETE FROM outbox_event WHERE type = 'RefundProcessed'",
        "Q3",
        "events that tell of the transition",
        "also_paid",
    ),
    "a refund under way": (
        "UPDATE payments_refund SET status = 'unknown', settled_at = NULL, due_at = now() WHERE amount = 500",
        "Q8",
        "a refund's status",
        "also_paid",
    ),
    "a paid order that nobody heard of": (
        "DELETE FROM outbox_event WHERE type = 'OrderPaid' AND aggregateid = '{paid}'",
        "Q3",
        "events that tell of the transition",
        "paid",
    ),
    "a payment told twice": (
        "INSERT INTO outbox_outboxrecord (id, aggregatetype, aggregateid, type, version, payload, headers) "
        "SELECT gen_random_uuid(), aggregatetype, aggregateid, type, version, payload, headers "
        "FROM outbox_event WHERE type = 'PaymentProcessed' AND aggregateid = '{paid}'",
        "Q3",
        "events that tell of the transition",
        "paid",
    ),
    "a refusal told twice": (
        "INSERT INTO outbox_outboxrecord (id, aggregatetype, aggregateid, type, version, payload, headers) "
        "SELECT gen_random_uuid(), aggregatetype, aggregateid, type, version, payload, headers "
        "FROM outbox_event WHERE type = 'PaymentDeclined' AND aggregateid = '{declined}'",
        "Q3",
        "events of one card",
        "declined",
    ),
    "another amount was told": (
        "UPDATE outbox_event SET payload = payload || '{{\"amount\": 1}}' "
        "WHERE type = 'PaymentProcessed' AND aggregateid = '{paid}'",
        "Q3",
        "what PaymentProcessed says",
        "paid",
    ),
    "a gap in the log": (
        "UPDATE outbox_loghead SET position = position + 1",
        "Q3",
        "events in the log",
        None,
    ),
    "an event twice": (
        "UPDATE outbox_event SET id = (SELECT id FROM outbox_event WHERE position = 1) WHERE position = 2",
        "Q3",
        "an event's id",
        "paid",
    ),
    "a mail that was never written": (
        "DELETE FROM notifications_message WHERE order_id = {sold_out}",
        "Q4",
        "the mail for an event",
        "sold_out",
    ),
    "a mail about nothing": (
        "UPDATE notifications_message SET event_id = gen_random_uuid() WHERE order_id = {paid}",
        "Q4",
        "the event of a mail",
        "paid",
    ),
    "a mail to somebody else": (
        "UPDATE notifications_message SET recipient = 'eve@example.org' WHERE order_id = {paid}",
        "Q4",
        "an accepted mail",
        "paid",
    ),
    "pieces that nobody received": (
        "UPDATE shop_stock SET on_hand = on_hand + 1",
        "Q5",
        "stock on hand and reserved",
        None,
    ),
    "a hold that is not counted": (
        "UPDATE shop_stock SET reserved = reserved - 1 WHERE reserved > 0",
        "Q5",
        "stock on hand and reserved",
        None,
    ),
    "a sold order without its goods": (
        "UPDATE shop_orderline SET hold = 'released' WHERE order_id = {paid}",
        "Q5",
        "a line's hold",
        "paid",
    ),
    "shipped before it was consumed": (
        "INSERT INTO shop_stockmovement (product_id, kind, quantity, order_id, actor, reason) "
        "SELECT product_id, 'shipment', -quantity, order_id, 'system', '' FROM shop_orderline "
        "WHERE order_id = {paid}",
        "Q5",
        "a line's shipments",
        "paid",
    ),
    "a staged record": (
        "INSERT INTO outbox_outboxrecord (id, aggregatetype, aggregateid, type, version, payload, headers) "
        "VALUES (gen_random_uuid(), 'order', '1', 'Something', 1, '{{}}', '{{}}')",
        "Q8",
        "staged records",
        None,
    ),
    "a subscription that stands still": (
        "UPDATE outbox_subscription SET position = position - 1 WHERE name = 'messages'",
        "Q8",
        "a subscription's position",
        None,
    ),
    "an event that is tried again": (
        "INSERT INTO outbox_parkedevent (subscription_id, position, id, aggregatetype, aggregateid, type, "
        "version, payload, headers, created_at, status, attempts, due_at, error) "
        "SELECT 'messages', position, id, aggregatetype, aggregateid, type, version, payload, headers, "
        "created_at, 'retrying', 1, now(), '' FROM outbox_event WHERE position = 1",
        "Q8",
        "a parked event",
        "paid",
    ),
    "a payment under way": (
        "UPDATE payments_payment SET status = 'unknown', due_at = now() WHERE order_id = {declined}",
        "Q8",
        "a payment's status",
        "declined",
    ),
    "a mail under way": (
        "UPDATE notifications_message SET status = 'pending', sent_at = NULL, due_at = now() WHERE order_id = {paid}",
        "Q8",
        "a mail's status",
        "paid",
    ),
    "an order that went on alone": (
        "UPDATE shop_order SET status = 'accepted' WHERE id = {declined}",
        "Q8",
        "an order and its payment",
        "declined",
    ),
    "an order that stands still": (
        "UPDATE shop_order SET status = 'placed' WHERE id = {reviewed}",
        "Q8",
        "an order and its payment",
        "reviewed",
    ),
    "an order without a payment": (
        "UPDATE shop_order SET process = '{{}}' WHERE id = {sold_out}",
        "Q8",
        "an order and its payment",
        "sold_out",
    ),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_the_database_is_broken(books: Store, broken: str) -> None:
    statement, invariant, what, order = BROKEN[broken]
    execute(statement.format(**vars(books)))
    status, answer = check("--invariant", invariant)
    assert (invariant, what, str(getattr(books, order)) if order else "") in found(answer)
    assert status == 1


def test_stock_is_promised_twice(books: Store) -> None:
    drop_constraint("shop_stock", "stock_never_promised_twice")
    execute("UPDATE shop_stock SET on_hand = 0")
    status, answer = check("--live")
    assert ("S5", "stock", "") in found(answer)
    assert status == 1


# --- broken outside -----------------------------------------------------------------------------------


def test_charged_twice(books: Store, other_world: Callable[..., None]) -> None:
    other_world(books.intent(books.paid) | {"id": "pi_second"})
    status, answer = check("--live")
    assert ("S1", "succeeded intents of an order", str(books.paid)) in found(answer)
    assert status == 1


def test_charged_too_much(books: Store, other_world: Callable[..., None]) -> None:
    intent = books.intent(books.paid)
    other_world(intent | {"amount_received": intent["amount"] + 1})
    assert ("S1", "an intent's amount", str(books.paid)) in found(check("--live")[1])


def test_paid_and_not_charged(books: Store, other_world: Callable[..., None]) -> None:
    other_world(books.intent(books.paid) | {"status": "canceled", "amount_received": 0})
    assert found(check("--live")[1]) == {("S1", "a paid payment's intent", str(books.paid))}


def test_charged_for_nobody(books: Store, other_world: Callable[..., None]) -> None:
    other_world(books.intent(books.paid) | {"id": "pi_stranger", "metadata": {}})
    assert found(check("--live")[1]) == {("S1", "a charge's payment", "")}


def test_refunded_by_nobody(books: Store, other_world: Callable[..., None]) -> None:
    charge = books.charge(books.paid)
    refund = {
        "id": "re_stranger",
        "object": "refund",
        "created": charge["created"],
        "payment_intent": charge["payment_intent"],
        "charge": charge["id"],
        "status": "succeeded",
        "amount": 100,
        "currency": "eur",
        "metadata": {},
    }
    other_world(refund, charge | {"amount_refunded": 100})
    assert found(check()[1]) == {("Q2", "a refund at the bank", str(books.paid))}


def test_refunded_more_than_charged(books: Store, other_world: Callable[..., None]) -> None:
    charge = books.charge(books.paid)
    other_world(charge | {"amount_refunded": charge["amount"] + 1})
    assert found(check("--live")[1]) == {("S2", "an intent's refunds", str(books.paid))}


def test_a_mail_was_sent_twice(books: Store, other_world: Callable[..., None]) -> None:
    def again(lines: list[Json]) -> list[Json]:
        text = json.dumps(next(line for line in lines if line.get("messages")))
        message_id = json.loads(text)["message_id"]
        return [*lines, json.loads(text.replace(message_id, "second-time")) | {"n": 10**9}]

    other_world(mails=again)
    ((invariant, what, order),) = found(check("--live")[1])
    assert (invariant, what) == ("S4", "accepted mails")
    assert int(order) in vars(books).values()


def test_a_mail_was_never_accepted(books: Store, other_world: Callable[..., None]) -> None:
    other_world(mails=lambda lines: [line for line in lines if "O-" not in json.dumps(line) or "settle" in line])
    differences = found(check("--invariant", "Q4")[1])
    assert ("Q4", "a sent mail", str(books.paid)) in differences
    assert {what for _, what, _ in differences} == {"a sent mail"}


# --- limits -----------------------------------------------------------------------------------------


def test_purged_events_are_not_missed(books: Store) -> None:
    execute("UPDATE outbox_loghead SET purged_through = position")
    execute("DELETE FROM outbox_event")
    status, answer = check()
    assert status == 0
    remarks = {remark for each in answer["checks"] for remark in each["remarks"]}
    assert any("were purged" in remark for remark in remarks)


def test_a_mail_that_a_person_has_given_up_is_not_missed(books: Store) -> None:
    """What others gave up, or of another event, excuses nothing: the decision names the event and its reader."""
    execute(BROKEN["a mail that was never written"][0].format(**vars(books)))
    event = Event.objects.get(aggregateid=str(books.sold_out), type="InventoryUnavailable")
    missing = {("Q4", "the mail for an event", str(books.sold_out))}
    _given_up(event, reader="order-process")
    _given_up(Event.objects.exclude(pk=event.pk)[0], reader="messages")
    assert found(check("--invariant", "Q4")[1]) == missing
    _given_up(event, reader="messages")
    assert found(check("--invariant", "Q4")[1]) == set()


def _given_up(event: Event, *, reader: str) -> None:
    envelope = {field.attname: getattr(event, field.attname) for field in Envelope._meta.fields}
    ParkedEvent.objects.create(
        **envelope,
        subscription_id=reader,
        position=event.position,
        created_at=event.created_at,
        status=ParkedEvent.Status.WAITING,
    )
    parking.skip(subscription=reader, position=event.position, actor="operator:olga", reason="told by telephone")


def test_what_waits_for_a_person_is_a_note(books: Store) -> None:
    execute(
        "UPDATE payments_payment SET status = 'unknown', due_at = NULL, blocked_reason = 'look' "
        "WHERE status = 'declined'"
    )
    execute("UPDATE shop_order SET status = 'awaiting_payment', hold_until = NULL WHERE status = 'payment_declined'")
    status, answer = check("--invariant", "Q8")
    assert status == 0
    assert any("1 blocked payment" in remark for each in answer["checks"] for remark in each["remarks"])


def test_a_provider_that_cannot_be_read(books: Store, settings: Any) -> None:
    settings.STRIPE_API_BASE = "http://127.0.0.1:9"
    status, answer = check()
    assert status == 2
    (reason,) = answer["unreadable"]
    assert "STRIPE_SECRET_KEY" in reason
    made = [each["invariant"] for each in answer["checks"] if not each["unreadable"]]
    assert {"S4", "S5", "Q3", "Q5"} <= set(made)


def test_the_table_names_what_differs(books: Store, capsys: pytest.CaptureFixture[str]) -> None:
    execute("UPDATE shop_order SET status = 'placed' WHERE status = 'under_review'")
    with pytest.raises(SystemExit):
        call_command("check_money")
    shown = capsys.readouterr().out
    assert "1 differ" in shown
    assert f"order {books.reviewed}: an order and its payment: expected" in shown
