"""A data folder: which PostgreSQL files may be used, and how they are made the first time.

It holds `cluster` (PostgreSQL's own files; as root under a closed folder a link to where the server's account
can reach them), `server.log` and `lock`. Every refusal is a PostgresError that says what to do.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from shop.local.account import Account, PostgresError, account_name
from shop.local.binaries import MAJOR_VERSION

OWN_FILES = {"cluster", "cluster.new", "server.log", "lock"}
# The cluster's superuser: the tests create databases.
ROLE = "store"
INITDB_OPTIONS = (
    f"--username={ROLE}",
    "--auth-local=trust",  # who may enter the socket's folder is decided by the system
    "--auth-host=reject",
    "--encoding=UTF8",
    "--no-locale",
    "--locale-provider=builtin",  # sorts alike on every system
    "--builtin-locale=C.UTF-8",
)


def refuse_other_files(data_dir: Path) -> None:
    names = {each.name for each in data_dir.iterdir()}
    if "cluster" not in names and (foreign := sorted(names - OWN_FILES)):
        raise PostgresError(f"{data_dir} holds other files ({', '.join(foreign[:3])}): choose an empty data folder.")


def find_cluster(data_dir: Path, *, account: Account) -> Path | None:
    """The files of an earlier start. Raises where they are not ours, or of another major version."""
    known = data_dir / "cluster"
    if not os.path.lexists(known):
        return None
    cluster = known.resolve()
    if not cluster.exists():
        raise PostgresError(f"The data is gone from {cluster}: remove {data_dir} to start afresh.")
    owner = cluster.stat().st_uid
    if owner != account.uid:
        raise PostgresError(
            f"{cluster} belongs to {account_name(owner)}, but the server would run as {account.name}: "
            "start it as the user who made it, or choose another data folder."
        )
    version_file = cluster / "PG_VERSION"
    if not version_file.exists():
        raise PostgresError(f"{cluster} was not made by PostgreSQL: choose another data folder.")
    version = version_file.read_text().strip()
    if version != MAJOR_VERSION:
        raise PostgresError(
            f"{cluster} was made by PostgreSQL {version}, and this is {MAJOR_VERSION}: "
            f"choose another data folder, or remove {data_dir} to start afresh."
        )
    if not account.reaches(cluster):
        raise PostgresError(
            f"A folder above {cluster} was closed to {account.name}, who runs the server: "
            "open it again, or choose another data folder."
        )
    return cluster


def make_cluster(data_dir: Path, *, account: Account, programs: Path) -> Path:
    """Complete or not at all: what an interrupted `initdb` leaves behind never gets the name `cluster`."""
    known = data_dir / "cluster"
    if account.reaches(data_dir):
        folder = data_dir / "cluster.new"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        _initialise(folder, account=account, programs=programs)
        return folder.rename(known)
    folder = Path(tempfile.mkdtemp(prefix="cluster-", dir=account.private_folder))
    _initialise(folder, account=account, programs=programs)
    known.symlink_to(folder)
    return folder


def _initialise(folder: Path, *, account: Account, programs: Path) -> None:
    account.own(folder)
    made = subprocess.run(
        [programs / "initdb", *INITDB_OPTIONS, "-D", folder],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        **account.process_arguments,
    )
    if made.returncode:
        raise PostgresError(f"initdb failed on {folder}:\n{made.stderr.strip()}")


def remove_stale_pid_file(cluster: Path) -> None:
    """After a `kill -9` its number may belong to another program, and PostgreSQL would refuse to start.

    For a caller that holds the lock, so that no server of ours lives; one started by hand keeps its file.
    """
    pid_file = cluster / "postmaster.pid"
    if pid_file.exists():
        pid = pid_file.read_text().partition("\n")[0]
        holder = Path(f"/proc/{pid}/comm")
        if holder.exists() and holder.read_text().strip() != "postgres":
            pid_file.unlink()


def remove_data(data_dir: Path) -> None:
    """Delete the folder and, where they lie elsewhere, the files it links to."""
    known = data_dir / "cluster"
    if known.is_symlink():
        shutil.rmtree(known.resolve(), ignore_errors=True)
    shutil.rmtree(data_dir, ignore_errors=True)
