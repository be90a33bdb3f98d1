"""The one statement that lets a checkout pass, against the steps that it stands for."""

import datetime as dt
import itertools
import queue
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.http import HttpRequest
from django.test import RequestFactory

from outbox import prepared
from payments import breaker
from payments.models import Breaker
from shop import admission, limits
from shop.intake import Stopped
from shop.limits import TooManyTries
from shop.models import TryCount
from shop.sessions import SessionStore
from tests.integration.orders import offer, place
from tests.local.waiting import wait_until
from tests.threads import repeated

pytestmark = pytest.mark.django_db
NOON = dt.datetime(2026, 1, 1, 12, 0, 7, tzinfo=dt.UTC)
ALL = ("CARD_TRIES_PER_ADDRESS", "CARD_TRIES_PER_SESSION", "CARD_TRIES_GLOBAL")


def from_shopper(session: str | None = "a" * 32, address: str = "198.51.100.7") -> HttpRequest:
    request = RequestFactory().post("/checkout/", REMOTE_ADDR=address)
    request.session = SessionStore(session)
    return request


def admit(request: HttpRequest, token: uuid.UUID) -> Any:
    try:
        return admission.admit(request, checkout_token=token, now=NOON)
    except (Stopped, TooManyTries) as refused:
        return type(refused), getattr(refused, "retry_after", None)


def outcome(request: HttpRequest, token: uuid.UUID) -> Any:
    """What it says, and what is counted then. Nothing of it stays."""
    with transaction.atomic():
        said = admit(request, token), sorted(TryCount.objects.values_list("source", "ends_at", "tries"))
        transaction.set_rollback(True)
    return said


def stand(status: str, hours: int) -> None:
    """The breaker, so long after it has opened."""
    breaker.hold_open(actor="operator:olga", reason="the bank is away")
    Breaker.objects.update(status=status, open_since=Now() - dt.timedelta(hours=hours) if hours else None)


BREAKERS = {
    "never looked at": lambda: None,
    "closed": lambda: stand("closed", 0),
    "forced closed": lambda: stand("forced_closed", 0),
    "open for a moment": lambda: breaker.hold_open(actor="operator:olga", reason="x"),
    "open for long": lambda: stand("held_open", 1),
}


@pytest.mark.parametrize("most", [*itertools.product((0, 2), repeat=3), (1, 2, 2), (2, 1, 2), (2, 2, 1), (1, 1, 1)])
@pytest.mark.parametrize("standing", BREAKERS)
@pytest.mark.parametrize("is_ordered", [False, True])
def test_both_say_and_count_the_same(
    most: tuple[int, ...], standing: str, is_ordered: bool, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in zip(ALL, most, strict=True):
        setattr(settings, name, value)
    token = place(offer()).order.checkout_token if is_ordered else uuid.uuid4()
    BREAKERS[standing]()
    limits.take(*limits.of_cards(from_shopper()), now=NOON)
    for request in (from_shopper(), from_shopper(None), from_shopper("b" * 32), from_shopper("c" * 32, "203.0.113.1")):
        at_once = outcome(request, token)
        with monkeypatch.context() as patch:
            patch.setattr(admission, "_count_at_once", lambda *_: False)
            assert outcome(request, token) == at_once


def test_the_usual_is_not_looked_at_twice(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.CARD_TRIES_PER_ADDRESS, settings.CARD_TRIES_PER_SESSION, settings.CARD_TRIES_GLOBAL = 100, 100, 100
    monkeypatch.delattr(admission, "_admit_step_by_step")
    for _ in range(2):
        assert admit(from_shopper(), uuid.uuid4()) is None
    assert sorted(TryCount.objects.values_list("tries", flat=True)) == [2, 2, 2]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("before", [0, 1])
def test_of_many_at_once_only_so_many_pass(before: int, settings: Any) -> None:
    """Also where they are the first of the window, whose counters nobody could lock."""
    settings.CARD_TRIES_PER_ADDRESS, settings.CARD_TRIES_PER_SESSION, settings.CARD_TRIES_GLOBAL = 3, 100, 100
    for _ in range(before):
        admit(from_shopper(), uuid.uuid4())
    answers = repeated(lambda: admit(from_shopper(), uuid.uuid4()), 8)
    assert answers.count(None) == 3 - before
    assert set(TryCount.objects.values_list("tries", flat=True)) == {3}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("tries", "used_up"), [((2, 100, 100), "address"), ((100, 100, 1), "all")])
def test_what_is_used_up_meanwhile_counts_against_nothing(tries: tuple[int, ...], used_up: str, settings: Any) -> None:
    """Whether its counter was there, or is the first of its window."""
    settings.CARD_TRIES_PER_ADDRESS, settings.CARD_TRIES_PER_SESSION, settings.CARD_TRIES_GLOBAL = tries
    if used_up == "address":
        assert admit(from_shopper(), uuid.uuid4()) is None
    (limit,) = (each for each in limits.of_cards(from_shopper()) if each.what == used_up)
    others = TryCount.objects.exclude(source=limit.source).values_list("source", "tries")
    before = set(others)
    backend: queue.Queue[int] = queue.Queue()

    def second() -> Any:
        connection.ensure_connection()
        backend.put(connection.connection.info.backend_pid)
        try:
            return admit(from_shopper(), uuid.uuid4())
        finally:
            connection.close()

    def is_waiting(pid: int) -> bool:
        with connection.cursor() as cursor:
            cursor.execute("SELECT cardinality(pg_blocking_pids(%s))", [pid])
            return bool(cursor.fetchone()[0])

    with ThreadPoolExecutor(max_workers=1) as pool:
        with transaction.atomic():
            limits.take(limit, now=NOON)
            answer = pool.submit(second)
            pid = backend.get(timeout=30)
            wait_until(lambda: is_waiting(pid))
        assert answer.result()[0] is TooManyTries
    assert set(others.all()) == before


@pytest.mark.django_db(transaction=True)
def test_what_follows_waits_for_the_disk_again() -> None:
    """That a counter does not holds for its own transaction alone."""
    asked = b"SELECT current_setting('synchronous_commit')"
    with transaction.atomic():
        assert admit(from_shopper(), uuid.uuid4()) is None
        assert prepared.run(asked, {}) == [("off",)]
    assert prepared.run(asked, {}) == [("on",)]
