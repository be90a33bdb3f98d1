"""A store with settled orders of every kind, and its books as `check_money` finds them."""

import io
import json
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from tests.sandbox_process import SandboxProcess

Json = dict[str, Any]


class Store:
    """Orders by what became of them; each is the order's id."""

    def __init__(self, sandbox: SandboxProcess, patch: pytest.MonkeyPatch) -> None:
        from django.conf import settings

        from outbox.sweep import sweep
        from payments.refunds import request_refund
        from shop.decisions import cancel_order, record_shipment
        from tests.integration.orders import offer, place

        self.sandbox = sandbox
        patch.setattr(settings, "STRIPE_API_BASE", sandbox.url)
        patch.setattr(settings, "SENDGRID_API_BASE", sandbox.url)
        lamp, treasure = offer(stock=7), offer(price=300_000)
        self.paid = place(lamp).order.pk
        self.also_paid = place(lamp, quantity=2).order.pk
        self.shipped = place(lamp).order.pk
        self.cancelled = place(lamp).order.pk
        self.declined = place(lamp, card="pm_card_visa_chargeDeclined").order.pk
        self.asked = place(lamp, card="pm_card_authenticationRequired").order.pk
        self.sold_out = place(lamp).order.pk
        self.rejected = place(treasure, country="US").order.pk
        self.reviewed = place(treasure).order.pk
        self.nobody = -self.rejected
        sweep(seconds=30)
        record_shipment(reference="S-1", order_id=self.shipped, kind="shipped", reported_by="warehouse")
        cancel_order(order_id=self.cancelled, actor="shopper", reason="changed my mind")
        record_shipment(reference="S-2", order_id=self.cancelled, kind="withdrawn", reported_by="warehouse")
        request_refund(
            order_id=self.also_paid, amount=500, reason="scratch", request_token="r", actor="eva", by_person=True
        )
        sweep(seconds=30)

    def intent(self, order: int) -> Json:
        """The order's intent as the bank's ledger has it."""
        intents = self.sandbox.bank_objects("payment_intent").values()
        (found,) = [each for each in intents if each["metadata"]["order_id"] == str(order)]
        return found

    def charge(self, order: int) -> Json:
        return self.sandbox.bank_objects("charge")[self.intent(order)["latest_charge"]]


def check(*arguments: str) -> tuple[int, Json]:
    """Exit status and the JSON answer of check_money."""
    out = io.StringIO()
    status: Any = 0
    try:
        call_command("check_money", "--json", *arguments, stdout=out)
    except SystemExit as end:
        status = end.code
    return status, json.loads(out.getvalue())


def found(answer: Json) -> set[tuple[str, str, str]]:
    """Invariant, what differs and the order of every difference."""
    return {
        (each["invariant"], difference["what"], difference["order"])
        for each in answer["checks"]
        for difference in each["differences"]
    }


def execute(statement: str) -> None:
    """Against every rule: triggers and foreign keys do not run."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(statement)
        cursor.execute("SET LOCAL session_replication_role = origin")


def drop_constraint(table: str, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
