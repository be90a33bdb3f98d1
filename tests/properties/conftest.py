from collections.abc import Iterator

import pytest


@pytest.fixture
def store(transactional_db: None) -> Iterator[None]:
    """Real commits, which no test waits for on the disk: nothing is killed here. Sessions come back as they were."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit = off")
    yield
    connection.close()
