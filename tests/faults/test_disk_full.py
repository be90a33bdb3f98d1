"""A disk that is really full, on a file system of a few megabytes that nobody else sees and that ends with its test."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.web_process import ROOT

# A mount namespace of our own. As an ordinary user within a user namespace, and still under that user: PostgreSQL
# refuses to run as root.
UNSHARE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-current-user", "--keep-caps"])]
MOUNT = 'mount -t tmpfs -o size=256m,mode=0711 small-disk "$SMALL_DISK" && exec "$@"'


def on_a_small_disk(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    """Run it where SMALL_DISK names a folder with 256 megabytes."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(
        [*UNSHARE, "sh", "-c", MOUNT, "sh", *command],
        cwd=ROOT,
        env={**ours, "SMALL_DISK": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the disk is mounted; as root, PostgreSQL's account must get through."""
    made = Path(tempfile.mkdtemp(prefix="small-disk-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_disk_that_is_really_full(folder: Path) -> None:
    try:
        possible = on_a_small_disk(folder, "true")
    except FileNotFoundError:
        pytest.skip("no small disk can be made here: there is no `unshare` (Linux, util-linux)")
    if possible.returncode:
        pytest.skip(f"no small disk can be made here: {possible.stderr.strip()}")
    options = ["-q", "-p", "no:xdist", "-p", "no:randomly", "-p", "no:cacheprovider"]
    tests = "tests/faults/on_a_small_disk.py"
    ran = on_a_small_disk(folder, sys.executable, "-m", "pytest", *options, tests)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "2 passed" in ran.stdout
