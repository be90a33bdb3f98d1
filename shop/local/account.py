"""The system's account under which PostgreSQL runs: ours, or an unprivileged one when we are root."""

import os
import pwd
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

# PostgreSQL refuses to run as root. The first of these accounts that exists is used instead.
UNPRIVILEGED = ("nobody", "postgres", "daemon")


class PostgresError(Exception):
    """The local server cannot run; the message says what to do about it."""


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int

    @property
    def is_ours(self) -> bool:
        return self.uid == os.geteuid()

    @property
    def process_arguments(self) -> dict[str, Any]:
        """What makes `subprocess` start a process under this account."""
        return {} if self.is_ours else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give one file or folder to the account."""
        if not self.is_ours:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def reaches(self, folder: Path) -> bool:
        """Whether the folder and all above it let the account through; memberships in groups do not count."""
        if self.is_ours:
            return True
        for each in (folder, *folder.parents):
            status = each.stat()
            needed = stat.S_IXUSR if status.st_uid == self.uid else stat.S_IXOTH
            if not status.st_mode & needed:
                return False
        return True

    @cached_property
    def private_folder(self) -> Path:
        """A folder of the account alone, for what cannot lie beside the data; its path is short.

        Raises PostgresError where somebody else made a folder of that name.
        """
        folder = Path("/var/tmp") / f"store-postgresql-{self.uid}"  # noqa: S108 - ownership is checked
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if status.st_uid == os.geteuid():
            self.own(folder)
        elif status.st_uid != self.uid:
            raise PostgresError(f"{folder} belongs to somebody else. Look at it, and remove it.")
        if not stat.S_ISDIR(status.st_mode) or stat.S_IMODE(status.st_mode) & 0o077:
            raise PostgresError(f"{folder} is no folder closed to others. Look at it, and remove it.")
        return folder


def server_account() -> Account:
    """Raises PostgresError when we are root and none of the unprivileged accounts exists."""
    if uid := os.geteuid():
        return Account(name=account_name(uid), uid=uid, gid=os.getegid())
    for name in UNPRIVILEGED:
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        if found.pw_uid:
            return Account(name=name, uid=found.pw_uid, gid=found.pw_gid)
    raise PostgresError(f"PostgreSQL does not run as root, and none of {', '.join(UNPRIVILEGED)} exists.")


def account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
