"""The store's workers, measured: by what they finish, with the bank over HTTP or in the place of the protocol object.
Imported by `benchmarks.child` alone."""

import random
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import cast

from django.db import connection

from benchmarks.tasks import Done, Work, placer
from notifications import mailers
from notifications import worker as mails
from notifications.mailers.base import Mailer, Receipt
from notifications.models import Message, MessageAttempt
from outbox import registry
from outbox.loops import Loop
from outbox.registry import LoopSpec
from payments import gateways
from payments import worker as payments
from payments.gateways.base import Answer, Body, Gateway, Intent, IntentStatus, Outcome
from payments.models import Payment

# Seconds between two looks whether everything is done.
LOOK = 0.01
# What a loop counts for a payment: a claim and two answers.
STEPS = 3


class InstantGateway:
    """A bank in the place of the protocol object, that answers at once: no SDK, no HTTP. Only what a payment that
    succeeds needs."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._name = uuid.uuid4().hex[:12]
        self._intents: dict[str, Body] = {}

    def create_body(self, *, order_id: int, payment: str, reference: str, amount: int, currency: str) -> Body:
        return {"amount": amount, "currency": currency}

    def confirm_body(self, *, payment_method: str, return_url: str) -> Body:
        return {"payment_method": payment_method}

    def create(self, *, key: str, body: Body) -> Answer:
        intent_id = f"pi_{self._name}{next(self._numbers)}"
        self._intents[intent_id] = body
        return self._shown(intent_id, IntentStatus.REQUIRES_PAYMENT_METHOD)

    def confirm(self, *, intent_id: str, key: str, body: Body) -> Answer:
        return self._shown(intent_id, IntentStatus.SUCCEEDED)

    def _shown(self, intent_id: str, status: IntentStatus) -> Answer:
        body = self._intents[intent_id]
        charge = intent_id.replace("pi_", "ch_") if status == IntentStatus.SUCCEEDED else ""
        intent = Intent(
            id=intent_id, status=status, amount=body["amount"], currency=body["currency"], latest_charge=charge
        )
        return Answer(outcome=Outcome.ANSWERED, intent=intent, http_status=200)


class InstantMailer:
    """A mail provider that takes every mail at once."""

    def send(self, message: Message) -> Receipt:
        return Receipt(outcome=MessageAttempt.Outcome.ACCEPTED, provider_id=uuid.uuid4().hex, http_status=202)


def _payments_engine() -> registry.Work:
    return payments.make_engine(gateway=cast("Gateway", InstantGateway()))


def _mail_engine() -> registry.Work:
    mailer: Mailer = InstantMailer()
    return mails.make_engine(mailer=mailer)


INSTANT: dict[str, Callable[[], registry.Work]] = {Payment.BELL: _payments_engine, Message.BELL: _mail_engine}


class _Running:
    """The loops of `run_workers GROUP` in threads of this process. `instant`: with nobody outside."""

    def __init__(self, group: str, *, instant: bool) -> None:
        self.loops = [Loop(_instant(spec) if instant else spec) for spec in registry.loops(only=[group])]
        self._threads = [threading.Thread(target=each.run, name=each.name, daemon=True) for each in self.loops]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def handled(self, name: str) -> int:
        return sum(each.handled for each in self.loops if each.name == name)

    def stop(self) -> None:
        for loop in self.loops:
            loop.stop()
        for thread in self._threads:
            thread.join()


def _instant(spec: LoopSpec) -> LoopSpec:
    return replace(spec, make=INSTANT.get(spec.name, spec.make))


def _import_clients() -> None:
    """What a worker imports and makes once in its life."""
    gateways.make(connections=1)
    mailers.make(connections=1)


def pay(*, number: int, seconds: float) -> Work:
    """The payments worker, until so many payments have had their two calls. Items are calls."""
    _import_clients()
    running = _Running("payments", instant=False)

    def work() -> Done:
        until = time.monotonic() + seconds
        running.start()
        while (handled := running.handled(Payment.BELL)) < STEPS * number and time.monotonic() < until:
            time.sleep(LOOK)
        took = time.monotonic() - (until - seconds)
        running.stop()
        return Done(items=2 * handled // STEPS, finished=handled == STEPS * number, notes={"seconds": took})

    return work


def call(*, number: int, in_flight: int) -> Work:
    """The same calls through the same adapter, with no database: create and confirm, so many at once."""
    bank = gateways.make(connections=in_flight)

    def one(order: int) -> bool:
        body = bank.create_body(
            order_id=order, payment=str(uuid.uuid4()), reference=f"O-{order:06d}", amount=4200, currency="EUR"
        )
        made = bank.create(key=f"payment:{uuid.uuid4()}:create", body=body)
        if made.intent is None:
            return False
        body = bank.confirm_body(payment_method="pm_card_visa", return_url="http://127.0.0.1:8000/orders/x/")
        paid = bank.confirm(intent_id=made.intent.id, key=f"payment:{uuid.uuid4()}:confirm", body=body)
        return paid.intent is not None and paid.intent.status == IntentStatus.SUCCEEDED

    def work() -> Done:
        with ThreadPoolExecutor(max_workers=in_flight) as pool:
            paid = sum(pool.map(one, range(1, number + 1)))
        return Done(items=2 * number, finished=paid == number)

    return work


def drain(*, group: str, seconds: float) -> Work:
    """The payments or the mails that are due, with nobody outside."""
    name = {"payments": Payment.BELL, "messages": Message.BELL}[group]
    engine = INSTANT[name]()
    connection.ensure_connection()

    def work() -> Done:
        moved = engine.run_until_idle(seconds=seconds)  # type: ignore[attr-defined]  # both are engines
        engine.close()
        return Done(items=moved)

    return work


def run_group(*, group: str, instant: bool, done: str, seconds: float) -> Work:
    """As `run_workers GROUP`, until the file `done` is there, or for so many seconds."""
    _import_clients()
    running, finished = _Running(group, instant=instant), Path(done)

    def work() -> Done:
        until = time.monotonic() + seconds
        running.start()
        while not finished.exists() and time.monotonic() < until:
            time.sleep(LOOK)
        running.stop()
        return Done(items=sum(each.handled for each in running.loops), finished=finished.exists())

    return work


def flow(*, seed: int, seconds: float, most: int, done: str) -> Work:
    """Place orders for so many seconds, in threads, while fewer than `most` are between placement and mail; the file
    `done` is there at the end. Notes the course: seconds, orders placed, orders under way."""
    shoppers = [placer(random.Random(f"{seed}:{number}")) for number in range(SHOPPERS)]  # noqa: S311 - no secret
    shoppers[0]()
    before = _sent()
    sent, over = 0, threading.Event()
    made = [1, *[0] * (SHOPPERS - 1)]  # what is on its way by now

    def shop(number: int) -> None:
        while not over.is_set():
            if sum(made) - sent < most:
                shoppers[number]()
                made[number] += 1
            else:
                time.sleep(LOOK)
        connection.close()

    def work() -> Done:
        nonlocal sent
        began, course = time.monotonic(), []
        with ThreadPoolExecutor(max_workers=SHOPPERS) as pool:
            inside = [pool.submit(shop, number) for number in range(SHOPPERS)]
            while (now := time.monotonic() - began) < seconds and not any(each.done() for each in inside):
                sent = _sent() - before
                course.append((round(now, 2), sum(made), sum(made) - sent))
                time.sleep(LOOK_AT_BACKLOG)
            sent = _sent() - before
            left = sum(made) - sent
            over.set()
        for each in inside:
            each.result()  # what a shopper has failed at is raised here
        Path(done).touch()
        return Done(items=sent, notes={"placed": sum(made), "sent": sent, "course": course, "left": left})

    return work


# Threads that place orders: one alone would mostly wait for its COMMIT, and the stages for it.
SHOPPERS = 4
# Seconds between two counts of what has come out at the other end.
LOOK_AT_BACKLOG = 0.2


def _sent() -> int:
    return Message.objects.filter(status=Message.Status.SENT).count()


TASKS: dict[str, Callable[..., Work]] = {
    "pay": pay,
    "call": call,
    "drain": drain,
    "run_group": run_group,
    "flow": flow,
}
