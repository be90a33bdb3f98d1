"""A provider's books in temporary tables of one session."""

import pytest
from django.db import OperationalError, connection

from outbox.sources import copied


@pytest.mark.django_db(transaction=True)
def test_a_session_that_ends_in_the_middle_is_an_error_of_the_database() -> None:
    """So that the command says that it could not look, and not that the books differ."""
    with copied("lines", "number integer") as append:
        append([(1,)])
        other = connection.copy()
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])
        other.close()
        with pytest.raises(OperationalError):
            append([(2,)])
        connection.close()  # what is left of it
