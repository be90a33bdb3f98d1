"""A provider's books in temporary tables of one session."""

import pytest
from django.db import OperationalError, connection

from outbox.sources import copied


def end_session() -> None:
    """As an immediate stop of PostgreSQL does."""
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
    other.close()


def read_across_an_end() -> None:
    with copied("lines", "number integer") as append:
        append([(1,)])
        end_session()
        append([(2,)])


@pytest.mark.django_db(transaction=True)
def test_a_session_that_ends_in_the_middle_is_an_error_of_the_database() -> None:
    """So that the command says that it could not look, and not that the books differ."""
    with pytest.raises(OperationalError):
        read_across_an_end()
    connection.close()  # what is left of it
