"""What the demo leaves for other commands: an environment that the settings can read, closed to others."""

import json
import os
import socket
import stat
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

import environ
import psycopg
import pytest
from django.core.management import CommandError, call_command

from shop.local.environment import Secrets, store_environment, write_environment_file
from shop.local.ports import first_free, take


def test_secrets_are_made_once_and_kept_from_others(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    made = Secrets.kept_in(file)
    assert Secrets.kept_in(file) == made != Secrets.fresh()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_secrets_of_an_older_store_are_kept_and_completed(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    older = asdict(Secrets.fresh())
    del older["approver_password"]
    file.write_text(json.dumps(older))
    made = Secrets.kept_in(file)
    assert older.items() <= asdict(made).items()
    assert Secrets.kept_in(file) == made
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_file_says_what_the_processes_got(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = store_environment(
        secrets=Secrets.fresh(),
        database_url=f"postgresql://store@{quote(str(tmp_path / 'A folder'), safe='')}/store",
        store_address="http://127.0.0.1:8000",
        sandbox_address="http://127.0.0.1:8001",
        sendgrid_public_key="MFkw+/==",
    )
    file = tmp_path / "store.env"
    write_environment_file(file, environment)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found: dict[str, str] = {}
    monkeypatch.setattr(environ.Env, "ENVIRON", found)
    environ.Env.read_env(file)
    assert found == environment
    assert psycopg.conninfo.conninfo_to_dict(found["DATABASE_URL"])["host"] == str(tmp_path / "A folder")


def test_reading_the_settings_leaves_the_environment_alone() -> None:
    assert environ.Env.ENVIRON is not os.environ


def test_a_port_in_use_is_passed_over_or_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not take(port)
        assert first_free(start=port) > port
        with pytest.raises(CommandError, match=f"Port {port} is in use"):
            call_command("demo", port=port, data=tmp_path / "data")
    assert not (tmp_path / "data").exists()
