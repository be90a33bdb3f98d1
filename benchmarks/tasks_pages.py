"""What a shopper's pages cost: the processes that ask for them. Imported by `benchmarks.child` alone."""

import functools
import random
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from django.db import connection
from django.test import override_settings

from benchmarks import shopper, simple_page
from benchmarks.meters import server_cpu
from benchmarks.shopper import WARM, Application, Way
from benchmarks.tasks import Done, Work
from payments.models import Payment

# All pages are asked for in turn so many times, each by its share of the shoppers.
ROUNDS = 3


@functools.cache
def application() -> Application:
    """The store's own, with the simple views beside its pages."""
    override_settings(ROOT_URLCONF=simple_page.__name__).enable()
    from shop.wsgi import application  # it runs the checks of a start

    return application


def shoppers(number: int, *, seed: int) -> list[Way]:
    """Each from an address of their own: the rules that count orders find nothing."""
    served, dice = application(), random.Random(seed)  # noqa: S311 - no secret
    return [Way(served, dice=dice, email=f"{uuid.uuid4().hex[:16]}@example.org") for _ in range(number)]


class _Meter:
    """CPU seconds by page: of this process around each request, and of the server around each batch of them."""

    def __init__(self, server: int | None) -> None:
        self._server = server
        self.spent: dict[str, dict[str, float]] = defaultdict(lambda: {"requests": 0, "seconds": 0, "client": 0})

    @contextmanager
    def page(self, name: str) -> Any:
        """Gives what measures one request."""
        spent = self.spent[name]

        def measured(ask: Callable[[], bytes]) -> bytes:
            began, cpu = time.monotonic(), time.process_time()
            reply = ask()
            spent["client"] += time.process_time() - cpu
            spent["seconds"] += time.monotonic() - began
            spent["requests"] += 1
            return reply

        before = server_cpu(self._server)
        yield measured
        after = server_cpu(self._server)
        if before is not None and after is not None:
            spent["server"] = spent.get("server", 0.0) + after - before


def pages(*, number: int, seed: int, server: int | None) -> Work:
    """So many shoppers, page by page: what each costs. `server` is PostgreSQL's main process, if it can be seen."""
    _walk(shoppers(WARM, seed=seed), _Meter(None))
    ways = shoppers(number, seed=seed + 1)

    def work() -> Done:
        meter = _Meter(server)
        for turn in range(ROUNDS):
            _walk(ways[turn::ROUNDS], meter)
        return Done(items=len(ways), notes=meter.spent)

    return work


def _walk(ways: list[Way], meter: _Meter) -> None:
    with meter.page(shopper.FRONT) as request:
        for each in ways:
            each.look(request)
    for number in range(2):
        with meter.page(shopper.PRODUCT) as request:
            for each in ways:
                each.choose(request, number)
        with meter.page(shopper.ADD) as request:
            for each in ways:
                each.add(request)
    for name, address in ((shopper.SIMPLE, simple_page.SIMPLE), (shopper.STORES, simple_page.STORES)):
        with meter.page(name) as request:
            for each in ways:
                each.simple(request, address)
    with meter.page(shopper.CART) as request:
        for each in ways:
            each.cart(request)
    with meter.page(shopper.CHECKOUT) as request:
        for each in ways:
            each.checkout(request)
    with meter.page(shopper.ORDER) as request:
        for each in ways:
            each.send(request)
    tags = []
    with meter.page(shopper.PLACED) as request:
        for each in ways:
            tags.append(each.see(request))
    with meter.page(shopper.AGAIN) as request:
        for each, tag in zip(ways, tags, strict=True):
            each.see_again(request, tag)


def click(*, number: int, seed: int, shortest: float, longest: float, seconds: float, done: str) -> Work:
    """Send so many orders, one after the other, with a pause of so many seconds between two; how long each took from
    the click until its payment had succeeded, in ms by its number. `seconds` is the patience for one; the file `done`
    is there at the end."""
    dice = random.Random(seed)  # noqa: S311 - no secret
    ways = shoppers(WARM + number, seed=seed)
    for each in ways:
        each.look(_plainly)
        for one in range(2):
            each.choose(_plainly, one)
            each.add(_plainly)
        each.checkout(_plainly)

    def paid(way: Way) -> float | None:
        """Monotonic seconds."""
        token, until = way.order.strip("/").split("/")[-1], time.monotonic() + seconds
        with connection.cursor() as cursor:
            while time.monotonic() < until:
                cursor.execute(PAID, [token])
                if (cursor.fetchone() or ("",))[0] == Payment.Status.SUCCEEDED:
                    return time.monotonic()
                time.sleep(LOOK)
        return None

    def work() -> Done:
        took: dict[str, float] = {}
        try:
            for at, each in enumerate(ways):
                # The pause is the load: nothing is waited for.
                time.sleep(dice.uniform(shortest, longest))
                began = time.monotonic()
                each.send(_plainly)
                ended = paid(each)
                if ended is None:
                    return Done(items=len(took), finished=False, notes=took)
                if at >= WARM:
                    took[str(at)] = (ended - began) * 1000
        finally:
            with suppress(OSError):
                Path(done).touch()
        return Done(items=len(took), notes=took)

    return work


# What the order's page calls paid.
PAID = "SELECT p.status FROM payments_payment p JOIN shop_order ON shop_order.id = order_id WHERE shop_order.token = %s"
# Seconds between two looks at an order that is not paid yet: the precision of what is measured.
LOOK = 0.003


def _plainly(ask: Callable[[], bytes]) -> bytes:
    return ask()


TASKS: dict[str, Callable[..., Work]] = {"pages": pages, "click": click}
