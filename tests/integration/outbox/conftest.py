from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def counters(transactional_db: None) -> Iterator[None]:
    from tests.integration.outbox import things  # models: only once the settings are loaded

    things.create_tables()
    yield
    things.drop_tables()
