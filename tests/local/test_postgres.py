"""The embedded PostgreSQL: start, stop, crash, and every data folder that it must refuse."""

import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from shop.local.account import server_account
from shop.local.binaries import programs_folder
from shop.local.postgres import DURABLE, EmbeddedPostgres, PostgresError
from tests.local.waiting import wait_until


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "postgresql"


@pytest.fixture
def postgres(data_dir: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(data_dir)
    yield server
    server.remove()


def ask(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as session:
        row = session.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url) as session:
        session.execute(statement.encode())


def test_data_and_address_are_the_same_after_stop_and_crash(postgres: EmbeddedPostgres) -> None:
    url = postgres.start()
    execute(url, "CREATE TABLE kept AS SELECT 1 AS number")
    postgres.crash()
    assert not postgres.is_running
    assert postgres.start() == url
    execute(url, "INSERT INTO kept VALUES (2)")
    postgres.stop()
    assert postgres.start() == url
    assert ask(url, "SELECT sum(number) FROM kept") == 3


def test_every_acknowledged_commit_is_on_disk(postgres: EmbeddedPostgres) -> None:
    url = postgres.start()
    assert {name: ask(url, f"SHOW {name}") for name in DURABLE} == DURABLE


def test_settings_that_lose_commits_are_refused(postgres: EmbeddedPostgres) -> None:
    execute(postgres.start(), "ALTER ROLE store SET synchronous_commit = off")
    postgres.stop()
    with pytest.raises(PostgresError, match="not durable"):
        postgres.start()
    assert not postgres.is_running


def test_it_listens_on_no_port_and_its_folder_is_closed(postgres: EmbeddedPostgres) -> None:
    url = postgres.start()
    assert ask(url, "SHOW listen_addresses") == ""
    folder = Path(str(ask(url, "SHOW unix_socket_directories"))).stat()
    assert stat.S_IMODE(folder.st_mode) == 0o700
    assert folder.st_uid == server_account().uid


def test_a_long_path_gets_its_socket_elsewhere(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / ("long" * 30) / "postgresql")
    try:
        url = server.start()
        socket_dir = Path(str(ask(url, "SHOW unix_socket_directories")))
        assert len(str(socket_dir)) < 80
        assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
        server.crash()
        assert server.start() == url
    finally:
        server.remove()
    assert not socket_dir.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server under another account")
def test_as_root_a_closed_folder_keeps_its_permissions(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    url = postgres.start()
    cluster = Path(str(ask(url, "SHOW data_directory")))
    assert not cluster.is_relative_to(tmp_path)
    assert cluster.stat().st_uid == server_account().uid != 0
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    execute(url, "CREATE TABLE kept ()")
    postgres.stop()
    with EmbeddedPostgres(postgres.data_dir) as found_again:
        assert ask(found_again.url, "SELECT count(*) FROM kept") == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server under another account")
def test_as_root_an_open_folder_holds_the_data_itself(open_folder: Path) -> None:
    with EmbeddedPostgres(open_folder / "postgresql") as started:
        assert Path(str(ask(started.url, "SHOW data_directory"))).is_relative_to(open_folder)


def test_a_folder_with_other_files_is_refused_and_left_alone(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "PG_VERSION").write_text("18\n")
    with pytest.raises(PostgresError, match="holds other files"):
        EmbeddedPostgres(data_dir).start()
    assert [each.name for each in data_dir.iterdir()] == ["PG_VERSION"]


def test_another_major_version_is_refused(postgres: EmbeddedPostgres, data_dir: Path) -> None:
    postgres.start()
    postgres.stop()
    (data_dir / "cluster" / "PG_VERSION").write_text("16\n")
    with pytest.raises(PostgresError, match="made by PostgreSQL 16, and this is 18"):
        postgres.start()


def test_files_that_are_no_cluster_are_refused(data_dir: Path) -> None:
    (data_dir / "cluster").mkdir(parents=True)
    server_account().own(data_dir / "cluster")
    with pytest.raises(PostgresError, match="not made by PostgreSQL"):
        EmbeddedPostgres(data_dir).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_somebody_elses_data_is_refused(postgres: EmbeddedPostgres, data_dir: Path) -> None:
    postgres.start()
    postgres.stop()
    os.chown((data_dir / "cluster").resolve(), 1, 1)
    with pytest.raises(PostgresError, match="belongs to daemon"):
        postgres.start()


def test_data_in_use_is_refused(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop.local.postgres.LOCK_PATIENCE", 0.0)
    url = postgres.start()
    with pytest.raises(PostgresError, match=f"started by process {os.getpid()}, uses"):
        EmbeddedPostgres(postgres.data_dir).start()
    assert ask(url, "SELECT 1") == 1


def test_a_stale_pid_file_is_no_obstacle(postgres: EmbeddedPostgres, data_dir: Path) -> None:
    """The server was killed, and its number now belongs to another program of the same account."""
    url = postgres.start()
    pid_file = data_dir / "cluster" / "postmaster.pid"
    left_behind = pid_file.read_text().splitlines()[1:]
    postgres.stop()
    other = subprocess.Popen(["/bin/sleep", "60"], **server_account().process_arguments)
    try:
        pid_file.write_text("\n".join([str(other.pid), *left_behind]) + "\n")
        server_account().own(pid_file)
        assert postgres.start() == url
    finally:
        other.kill()
        other.wait()


def test_a_killed_server_starts_again(postgres: EmbeddedPostgres) -> None:
    url = postgres.start()
    os.kill(postgres.pid, signal.SIGKILL)
    wait_until(lambda: not postgres.is_running)
    assert postgres.start() == url


def test_an_interrupted_initdb_is_done_again(postgres: EmbeddedPostgres, data_dir: Path) -> None:
    unfinished = data_dir / "cluster.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    assert ask(postgres.start(), "SELECT 1") == 1


def test_programs_are_found_without_importing_their_package() -> None:
    programs = programs_folder(account=server_account())
    version = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True)
    assert "(PostgreSQL) 18" in version.stdout
