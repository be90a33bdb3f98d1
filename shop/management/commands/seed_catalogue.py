from argparse import ArgumentParser
from typing import Any

from outbox.management.commanding import StoreCommand, positive
from shop.catalogue.seed import seed


class Command(StoreCommand):
    help = (
        "Fill the store with the demo's catalogue, its ways of shipping and stock. Running it again adds only what is "
        "missing: what was sold or changed meanwhile stays as it is."
    )
    examples = ("", "--stock 40")

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--stock", type=positive, default=500, metavar="N", help="pieces of each new product (%(default)s)"
        )

    def handle(self, *args: Any, stock: int, **options: Any) -> None:
        seeded = seed(stock=stock)
        self.stdout.write(
            f"{seeded.products} products and {seeded.shipping_methods} ways of shipping; "
            f"{seeded.received} pieces received."
        )
