"""The store's sessions are Django's: the same rows, keys and refusals, whichever of the two reads and writes."""

import datetime as dt
import itertools
from typing import Any

import pytest
from django.conf import settings
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

from shop import sessions

pytestmark = pytest.mark.django_db
CART = {"cart": {"id": "1", "lines": {"5": 2}}, "Ünïcode": "\u2028 '\"%s", "list": [1, None, {"a": 0.5}]}
ENGINES = (db.SessionStore, sessions.SessionStore)
engines = pytest.mark.parametrize("engine", ENGINES)


def made(engine: type[db.SessionStore], **content: Any) -> db.SessionStore:
    session = engine()
    session.update(content or CART)
    session.save()
    return session


def test_they_are_in_use() -> None:
    assert sessions.__name__ == settings.SESSION_ENGINE


@pytest.mark.parametrize(("writer", "changer", "reader"), [*itertools.product(ENGINES, repeat=3)])
def test_what_one_writes_another_changes_and_a_third_reads(
    writer: type[db.SessionStore], changer: type[db.SessionStore], reader: type[db.SessionStore]
) -> None:
    key = made(writer).session_key
    changed = changer(key)
    changed["more"] = [True]
    changed.save()
    assert dict(reader(key).items()) == {**CART, "more": [True]}
    row, lasts = Session.objects.get(), dt.timedelta(seconds=settings.SESSION_COOKIE_AGE)
    assert row.session_key == key
    assert lasts - dt.timedelta(minutes=1) < row.expire_date - timezone.now() <= lasts


@engines
def test_what_is_over_is_not_found_and_its_key_is_given_up(engine: type[db.SessionStore]) -> None:
    old = made(engine)
    Session.objects.update(expire_date=timezone.now() - dt.timedelta(seconds=1))
    for key in (old.session_key, "nobodys-key", "a" * 5000, "'; --"):
        found = engine(key)
        assert not list(found.keys())
        assert found.session_key is None
    assert Session.objects.count() == 1


@engines
def test_one_that_ended_meanwhile_is_not_written_again(engine: type[db.SessionStore]) -> None:
    other, session = made(engine), made(engine)
    session["more"] = 1
    Session.objects.filter(pk=session.session_key).delete()
    with pytest.raises(UpdateError):
        session.save()
    assert Session.objects.get().session_key == other.session_key


@engines
def test_a_login_changes_the_key_and_a_logout_ends_it(engine: type[db.SessionStore]) -> None:
    session = made(engine)
    before = session.session_key
    session.cycle_key()
    assert session.session_key != before
    assert dict(engine(session.session_key).items()) == CART
    assert not list(engine(before).keys())
    session.flush()
    assert not Session.objects.exists()


def test_what_was_written_with_something_else_is_not_written_again() -> None:
    session = sessions.SessionStore(made(sessions.SessionStore).session_key)
    session.without("cart").run()
    stored = db.SessionStore(session.session_key)
    assert set(stored.keys()) == CART.keys() - {"cart"}
    assert set(session.keys()) == CART.keys()
    del session["cart"]
    Session.objects.update(session_data="untouched")
    session.save()
    assert Session.objects.get().session_data == "untouched"
    session["more"] = 1
    session.save()
    assert db.SessionStore(session.session_key)["more"] == 1


def test_what_was_not_committed_leaves_everything_in_it() -> None:
    session = sessions.SessionStore(made(sessions.SessionStore).session_key)
    with transaction.atomic():
        session.without("cart").run()
        transaction.set_rollback(True)
    assert dict(db.SessionStore(session.session_key).items()) == CART
    session["more"] = 1
    session.save()
    assert dict(db.SessionStore(session.session_key).items()) == {**CART, "more": 1}


def test_one_that_ended_before_it_could_be_written_with_something_else_says_so_later() -> None:
    session = sessions.SessionStore(made(sessions.SessionStore).session_key)
    assert session["cart"]
    Session.objects.all().delete()
    session.without("cart").run()
    del session["cart"]
    with pytest.raises(UpdateError):
        session.save()
