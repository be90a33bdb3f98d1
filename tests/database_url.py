"""Where other processes find the database of this process's tests."""

import os
from urllib.parse import urlsplit

from django.db import connection


def database_url() -> str:
    """The run's DATABASE_URL, with the database that belongs to this process."""
    return urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}").geturl()
