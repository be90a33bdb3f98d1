from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from shop.catalogue.seed import seed


class Command(BaseCommand):
    help = "Fills the store with its catalogue, its ways of shipping and stock. Running it again changes nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--stock", type=int, default=500, help="pieces of each product (default: 500)")

    def handle(self, *args: Any, stock: int, **options: Any) -> None:
        seeded = seed(stock=stock)
        self.stdout.write(
            f"{seeded.products} products and {seeded.shipping_methods} ways of shipping; "
            f"{seeded.received} pieces received."
        )
