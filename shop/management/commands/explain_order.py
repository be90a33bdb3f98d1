import json
import re
import sys
from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser
from django.db.models import Q
from rich.console import Console
from rich.table import Table

from outbox.management.commanding import StoreCommand
from outbox.timeline import timeline
from payments.models import Payment
from payments.money import display
from shop.models import Concern, Order


class Command(StoreCommand):
    help = "Tell everything about one order: where it stands, and its whole history from every part of the store."

    exit_codes: ClassVar = {0: "told", 1: "there is no such order"}
    examples = ("O-000042", "42 --json", "42 --customer")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("order", help="its number (O-000042), its id (42), or the token of its page")
        parser.add_argument("--json", action="store_true", help="print it as one JSON object")
        parser.add_argument("--customer", action="store_true", help="only what the customer's page tells")

    def handle(self, *args: Any, **options: Any) -> None:
        order = _find(options["order"])
        payment = Payment.objects.filter(order_id=order.pk).first()
        entries = timeline(order.pk, public=options["customer"])
        if options["json"]:
            self.stdout.write(
                json.dumps(
                    {
                        "order": order.pk,
                        "number": order.number,
                        "status": order.status,
                        "payment": payment.status if payment else None,
                        "timeline": [
                            {
                                "at": entry.at.isoformat(),
                                "source": entry.source,
                                "what": entry.what,
                                "who": entry.who,
                                "detail": entry.detail,
                            }
                            for entry in entries
                        ],
                    },
                    indent=2,
                )
            )
            return
        # In a pipe or file, one line for each entry.
        console = Console(highlight=False, width=None if sys.stdout.isatty() else 240)
        total = display(amount=order.total, currency=order.currency)
        console.print(f"[bold]{order.number}[/] · {total} · order {order.status}")
        if payment is not None:
            held = f", held by {payment.claimed_by}" if payment.token else ""
            console.print(f"payment {payment.status}{held} · intent {payment.intent_id or '–'}")
            if payment.blocked_reason:
                console.print(f"[red]blocked:[/] {payment.blocked_reason}")
        for concern in Concern.objects.filter(order=order, resolved_at__isnull=True):
            console.print(f"[red]waits for a person:[/] {concern.kind} {concern.detail}")
        columns = ["when (UTC)", "what"] if options["customer"] else ["when (UTC)", "what", "source", "who", "detail"]
        table = Table(*columns, box=None, header_style="bold")
        for entry in entries:
            cells = (f"{entry.at:%Y-%m-%d %H:%M:%S.%f}"[:-3], entry.what, entry.source, entry.who, entry.detail)
            table.add_row(*cells[: len(columns)])
        console.print(table)


def _find(text: str) -> Order:
    number = re.fullmatch(r"(?:O-)?(\d{1,18})", text.strip(), re.IGNORECASE)
    wanted = Q(token=text.strip()) | (Q(pk=int(number[1])) if number else Q())
    order = Order.objects.filter(wanted).first() if text.strip() else None
    if order is None:
        raise CommandError(f"There is no order {text!r}: give its number (O-000042), its id, or its page's token.")
    return order
