"""What a measured process does, by name. A task prepares itself when it is called and returns the work that is timed.

Imported by `benchmarks.child` alone, once Django is set up.
"""

import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.management import call_command
from django.db import connection, transaction

from benchmarks import history, tasks_latency
from outbox import context, registry, subscriptions
from outbox.dispatcher import dispatch_once
from outbox.events import Delivery
from outbox.models import LogHead, OutboxRecord, Subscription
from outbox.publisher import publish_all
from outbox.relay import relay_once
from payments.events import PaymentProcessed
from payments.models import Payment
from shop.catalogue.seed import seed
from shop.events import InventoryReserved, OrderPlaced
from shop.models import Product, ShippingMethod, Stock, StockMovement
from shop.services import CartLine, Contact, place_order

# Pieces of each product: no run sells them out.
STOCK = 1_000_000
# The readers of the log that do something for an order on its way to the warehouse.
HANDLERS = ("order-process", "messages")
# A payment's way, as its transitions allow it.
CLAIMED = """
UPDATE payments_payment SET status = 'processing', token = gen_random_uuid(), claimed_by = 'bench', attempts = 1,
    due_at = now() + interval '1 minute'
WHERE settled_at IS NULL
"""
SUCCEEDED = """
UPDATE payments_payment SET status = 'succeeded', intent_id = 'pi_' || md5(id::text), token = NULL, claimed_by = '',
    latest_charge = 'ch_' || md5(id::text), due_at = NULL, settled_at = now()
WHERE settled_at IS NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """`finished` is false for work that its time limit has cut short."""

    items: int
    finished: bool = True
    notes: dict[str, Any] = field(default_factory=dict)


Work = Callable[[], Done]


def load(*, orders: int) -> Work:
    """A migrated store with a history of so many settled orders."""

    def work() -> Done:
        call_command("migrate", verbosity=0)
        history.load(orders=orders)
        history.analyse()
        return Done(items=orders)

    return work


def migrate() -> Work:
    """A history that was loaded before the migrations of today."""

    def work() -> Done:
        call_command("migrate", verbosity=0)
        history.analyse()
        return Done(items=1)

    return work


def build(*, products: int) -> Work:
    """A migrated store with at least so many products, far more of each than anybody orders, and one order."""

    def work() -> Done:
        call_command("migrate", verbosity=0)
        seed(stock=STOCK)
        Stock.objects.update(on_hand=STOCK)
        more = Product.objects.bulk_create(
            Product(slug=f"bench-{each}", name=f"Benchmark good {each}", category="Benchmark", price=2000 + each)
            for each in range(products - Product.objects.count())
        )
        Stock.objects.bulk_create(Stock(product=each, on_hand=STOCK) for each in more)
        # Receipts by hand of what the seed has not received: the books hold in every copy.
        with connection.cursor() as cursor:
            cursor.execute("TRUNCATE shop_stockmovement")
        StockMovement.objects.bulk_create(
            StockMovement(product_id=pk, kind=StockMovement.Kind.RECEIPT, quantity=STOCK)
            for pk in Product.objects.values_list("pk", flat=True)
        )
        placer(random.Random(1))()  # noqa: S311 - no secret
        return Done(items=Product.objects.count())

    return work


def place(*, seed: int, seconds: float, orders: int = 0, relayed: bool = False) -> Work:
    """Place orders of two random products for so long, or until there are so many; `relayed`: their events go into the
    log then."""
    one = placer(random.Random(seed))  # noqa: S311 - no secret
    one()  # what a process does once in its life is done

    def work() -> Done:
        until = time.monotonic() + seconds
        placed = 0
        while time.monotonic() < until and not 0 < orders <= placed:
            one()
            placed += 1
        if relayed:
            _drained(relay_once, until=until)
        return Done(items=placed, finished=placed >= orders)

    return work


def placer(dice: random.Random) -> Callable[[], None]:
    """Places an order as the checkout page does. Each is another shopper's: the rules that count orders of one address
    find nothing."""
    prices = dict(Product.objects.filter(active=True).order_by("pk").values_list("pk", "price"))
    products = list(prices)
    shipping = ShippingMethod.objects.filter(active=True).order_by("pk").first()
    if shipping is None:
        raise LookupError("The store ships nothing.")

    def one() -> None:
        token = uuid.uuid4()
        chosen = dice.sample(products, 2)
        with context.bound(context.Context.new(actor="shopper")):
            place_order(
                checkout_token=token,
                lines=[CartLine(product_id=pk, quantity=1) for pk in chosen],
                contact=Contact(
                    name="Ada Lovelace",
                    email=f"{token.hex[:16]}@example.org",
                    address=f"Am Sandtorkai {token.hex[16:]}",
                    postal_code="20457",
                    city="Hamburg",
                    country="DE",
                ),
                shipping_code=shipping.code,
                payment_method="pm_card_visa",
                expected_total=sum(prices[pk] for pk in chosen) + shipping.price,
            )

    return one


def relay(*, seconds: float) -> Work:
    """Move everything that is staged to the log."""
    OutboxRecord.objects.exists()  # connected

    def work() -> Done:
        moved = _drained(relay_once, until=time.monotonic() + seconds)
        return Done(items=moved, finished=not OutboxRecord.objects.exists())

    return work


def read(*, name: str, seconds: float) -> Work:
    """Read the whole log with a handler that does nothing."""
    delivered = 0

    def handle(deliveries: Sequence[Delivery[Any]]) -> None:
        nonlocal delivered
        delivered += len(deliveries)

    registry.subscribe(name, OrderPlaced, InventoryReserved)(handle)
    subscriptions.ensure_all()

    def work() -> Done:
        _drained(lambda: dispatch_once(name), until=time.monotonic() + seconds)
        return Done(items=delivered, finished=_at_head([name]))

    return work


def handle(*, seconds: float) -> Work:
    """Relay, and give everything to the order process and the messages, in turn, until nothing is left."""
    begun = LogHead.objects.get().position

    def turn() -> int:
        return relay_once() + sum(dispatch_once(name) for name in HANDLERS)

    def work() -> Done:
        start = sum(Subscription.objects.filter(pk__in=HANDLERS).values_list("position", flat=True))
        _drained(turn, until=time.monotonic() + seconds)
        end = sum(Subscription.objects.filter(pk__in=HANDLERS).values_list("position", flat=True))
        published = LogHead.objects.get().position - begun
        # Both read everything: an event is done when both have passed it.
        return Done(items=(end - start) // len(HANDLERS), finished=_at_head(HANDLERS), notes={"published": published})

    return work


def charge() -> Work:
    """Have every payment that is due succeed, as the payments worker would record it, without a bank."""

    def work() -> Done:
        with transaction.atomic():
            due = list(Payment.objects.select_for_update().filter(settled_at__isnull=True).order_by("pk"))
            with connection.cursor() as cursor:
                cursor.execute(CLAIMED)
                cursor.execute(SUCCEEDED)
            intents = dict(Payment.objects.values_list("pk", "intent_id"))
            publish_all(
                (
                    PaymentProcessed(
                        order_id=each.order_id,
                        payment_id=str(each.public_id),
                        amount=each.amount,
                        currency=each.currency,
                        intent_id=intents[each.pk],
                    ),
                    each.context,
                )
                for each in due
            )
        _drained(relay_once, until=time.monotonic() + 60)
        return Done(items=len(due))

    return work


def _drained(step: Callable[[], int], *, until: float) -> int:
    """What all steps moved together, until one moves nothing or the time (monotonic) is over."""
    total = 0
    while time.monotonic() < until and (moved := step()):
        total += moved
    return total


def _at_head(names: Sequence[str]) -> bool:
    head = LogHead.objects.get().position
    positions = list(Subscription.objects.filter(pk__in=names).values_list("position", flat=True))
    return positions == [head] * len(names)


TASKS: dict[str, Callable[..., Work]] = {
    "load": load,
    "migrate": migrate,
    "build": build,
    "place": place,
    "relay": relay,
    "read": read,
    "handle": handle,
    "charge": charge,
    "listen": lambda **arguments: _noted(tasks_latency.listen(**arguments)),
    "publish": lambda **arguments: _noted(tasks_latency.publish_beats(**arguments)),
}


def _noted(times: Callable[[], dict[int, int]]) -> Work:
    def work() -> Done:
        noted = times()
        return Done(items=len(noted), notes={str(number): at for number, at in noted.items()})

    return work
