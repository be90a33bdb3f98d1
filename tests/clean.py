"""The database between two tests: every table as `migrate` has left it.

Django's own way is to truncate all tables and to run everything that follows a migration again, which takes longer than
most of the tests.
"""

from collections.abc import Sequence

from django.core.management import call_command
from django.db import connection, transaction

# What `migrate` has written lies here for the whole run.
KEPT = "as_migrated"
# Written by `migrate`, and by nothing that a test does.
CONSTANT = frozenset({"django_migrations", "django_content_type", "auth_permission"})

_statements: list[str] = []


def keep() -> None:
    """Remember how the tables are now, after `migrate`. It takes a superuser; others go Django's way."""
    with connection.cursor() as cursor:
        cursor.execute("SHOW is_superuser")
        if cursor.fetchone() != ("on",):
            return
        cursor.execute(f"CREATE SCHEMA {KEPT}")
        tables = [each for each in connection.introspection.table_names(cursor) if each not in CONSTANT]
        filled = [each for each in tables if _has_rows(each)]
        for table in filled:
            cursor.execute(f'CREATE TABLE {KEPT}."{table}" AS TABLE public."{table}"')
    _statements[:] = _restoring(tables, filled)


def restore() -> None:
    """All that happened since `keep` is undone."""
    if not _statements:
        call_command("flush", interactive=False, verbosity=0, reset_sequences=False)
        return
    with transaction.atomic(), connection.cursor() as cursor:
        # The triggers that keep ledgers append-only, and the foreign keys, look away for the moment.
        cursor.execute("SET LOCAL session_replication_role = replica; SET LOCAL synchronous_commit = off")
        cursor.execute(";".join(_statements))


def _has_rows(table: str) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT EXISTS (SELECT FROM "{table}")')  # noqa: S608 - a name that PostgreSQL gave
        return bool(cursor.fetchone() == (True,))


def _restoring(tables: Sequence[str], filled: Sequence[str]) -> list[str]:
    emptied = [f'DELETE FROM public."{table}"' for table in tables]  # noqa: S608
    return emptied + [f'INSERT INTO public."{table}" TABLE {KEPT}."{table}"' for table in filled]
