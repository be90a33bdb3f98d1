"""A database as `migrate` leaves it: made once in a run of tests, by whoever asks first, and copied from then on.

A copy takes PostgreSQL a twentieth of a second; all migrations take a Python process two.
"""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

ROOT = Path(__file__).parents[1]
# The variable that names the run's template, for all its processes.
VARIABLE = "TEMPLATE_DATABASE"
# An advisory lock of the run's database; nothing else takes one there.
_LOCK = 7_311_024


def announce() -> None:
    """This process's run has a template from now on."""
    os.environ[VARIABLE] = f"store_migrated_{os.getpid()}"


def remove() -> None:
    """Nothing of it is left on a server that outlives the run."""
    with _session() as session:
        for name in (os.environ[VARIABLE], _unfinished(os.environ[VARIABLE])):
            session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def template() -> str | None:
    """The name of a migrated database of DATABASE_URL's server, which nobody is connected to. None outside of a run."""
    name = os.environ.get(VARIABLE)
    if name is not None:
        with _session() as session:
            session.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
            if not session.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount:
                _make(session, name)
    return name


def create_database(session: "psycopg.Connection[tuple[object, ...]]", name: str) -> None:
    """A copy of the template, or an empty database outside of a run."""
    made = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if known := template():
        made += sql.SQL(" TEMPLATE {}").format(sql.Identifier(known))
    session.execute(made)


def _make(session: "psycopg.Connection[tuple[object, ...]]", name: str) -> None:
    unfinished = _unfinished(name)
    session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(unfinished)))
    session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(unfinished)))
    address = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{unfinished}").geturl()
    environment = {**os.environ, "DATABASE_URL": address}
    subprocess.run([sys.executable, "manage.py", "migrate", "--verbosity", "0"], cwd=ROOT, env=environment, check=True)
    session.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(unfinished), sql.Identifier(name)))


def _session() -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)


def _unfinished(name: str) -> str:
    return f"{name}_unfinished"
