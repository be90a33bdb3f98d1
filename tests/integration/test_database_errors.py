"""Which errors of PostgreSQL pass by themselves, as the server itself raises them."""

import time

import pytest
from django.db import Error, connection, transaction

from outbox.database import is_transient, is_unavailable
from outbox.models import LogHead

pytestmark = pytest.mark.django_db(transaction=True)


def refused(*statements: str, pause: float = 0) -> Error:
    """The error that Django makes of what PostgreSQL answers to the last of them, `pause` seconds later."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            for number, statement in enumerate(statements):
                time.sleep(pause if number else 0)
                cursor.execute(statement)
    except Error as error:
        return error
    pytest.fail("it was not refused")


@pytest.mark.parametrize(
    "state", ["40P01", "40001", "53100", "53200", "53300", "55P03", "57P01", "57P03", "58030", "08006", "25006"]
)
def test_these_pass_by_themselves(state: str) -> None:
    error = refused(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$")
    assert is_transient(error)
    assert is_unavailable(error)


def test_so_does_writing_to_a_server_that_only_reads() -> None:
    assert is_transient(refused("SET TRANSACTION READ ONLY", "UPDATE outbox_loghead SET position = 1"))


def test_so_does_a_session_that_was_ended_while_this_process_stood_still() -> None:
    assert is_transient(refused("SET idle_in_transaction_session_timeout = '10ms'", "SELECT 1", pause=0.3))
    assert LogHead.objects.exists()  # on a new connection


def test_what_is_too_slow_is_said_and_not_tried_again() -> None:
    error = refused("SET LOCAL statement_timeout = '10ms'; SELECT pg_sleep(5)")
    assert not is_transient(error)
    assert is_unavailable(error)


@pytest.mark.parametrize("state", ["23505", "42P01", "22012", "54000", "XX001"])
def test_these_are_bugs_or_for_a_person(state: str) -> None:
    error = refused(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{state}'; END $$")
    assert not is_transient(error)
    assert not is_unavailable(error)
