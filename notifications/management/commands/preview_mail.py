from typing import Any, ClassVar

from django.core.management.base import CommandError, CommandParser

from notifications.catalogue import MAILS
from notifications.emails import facts, render
from notifications.samples import sample
from outbox.management.commanding import StoreCommand, positive
from shop import selectors


class Command(StoreCommand):
    help = "Print a mail as it would be sent, with a made-up order or with a real one. Nothing is sent."

    exit_codes: ClassVar = {0: "printed", 1: "there is no such order"}
    examples = ("order_confirmed", "order_shipped --order 42 --html > mail.html")

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "template", choices=sorted({mail.template for mail in MAILS.values()}), help="which of the store's mails"
        )
        parser.add_argument("--order", type=positive, metavar="N", help="the id of an order to write about")
        parser.add_argument("--html", action="store_true", help="the HTML part instead of subject and plain text")

    def handle(self, *args: Any, **options: Any) -> None:
        data = sample(options["template"])
        if number := options["order"]:
            ordered = selectors.orders([number]).get(number)
            if ordered is None:
                raise CommandError(f"There is no order {number}.")
            data |= facts(ordered)
        email = render(options["template"], data)
        self.stdout.write(email.html if options["html"] else f"Subject: {email.subject}\n\n{email.text}")
