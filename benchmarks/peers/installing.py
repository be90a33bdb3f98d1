"""The peers' packages: installed on demand into `var/peers`, as the lock files beside this module say, and only there.

Where that does not work, what needs them is missing; nothing else is harmed.
"""

import functools
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from benchmarks.children import ROOT

HERE = Path(__file__).parent
FOLDER = ROOT / "var" / "peers"
MODULES = FOLDER / "node" / "node_modules"
# By the name of the environment. Brokers are programs for few machines: what needs none does without them.
REQUIREMENTS = {"python": HERE / "requirements.txt", "brokers": HERE / "requirements-brokers.txt"}
PACKAGES = (HERE / "package.json", HERE / "package-lock.json")
# Seconds: a slow line is no reason to give up, one that hangs is.
PATIENCE = 600.0


class Missing(Exception):
    """A peer cannot be installed or run here; the message says why."""


def version(package: str) -> str:
    """The one that is locked. Raises LookupError."""
    locked = json.loads(PACKAGES[1].read_text())["packages"].get(f"node_modules/{package}")
    if locked:
        return str(locked["version"])
    for each in REQUIREMENTS.values():
        if found := re.search(rf"^{re.escape(package)}==(\S+)", each.read_text(), re.MULTILINE):
            return found[1]
    raise LookupError(f"{package} is in no lock file.")


def python() -> Path:
    """The interpreter that has the peers in Python. Raises Missing; what failed once is not tried again."""
    return _or_missing(partial(_python, "python"))


def brokers() -> Path:
    """The interpreter that has the peers with a broker, and their brokers. Raises Missing, as above."""
    return _or_missing(partial(_python, "brokers"))


def node() -> Path:
    """The program that runs the peers in JavaScript; their packages are in MODULES. Raises Missing, as above."""
    return _or_missing(partial(_node))


def _or_missing(install: "partial[Path]") -> Path:
    found = _tried(install.func, *install.args)
    if isinstance(found, Missing):
        raise found
    return found


@functools.cache
def _tried(install: Callable[..., Path], *arguments: str) -> Path | Missing:
    try:
        return install(*arguments)
    except Missing as error:
        return error


def _python(name: str) -> Path:
    interpreter = FOLDER / name / "bin" / "python"
    locked = REQUIREMENTS[name]
    if not _is_ready(name, [locked]):
        _run([sys.executable, "-m", "venv", "--clear", str(FOLDER / name)])
        pip = [str(interpreter), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        _run([*pip, "--no-deps", "--require-hashes", "-r", str(locked)])
        _set_ready(name, [locked])
    return interpreter


def _node() -> Path:
    found = shutil.which("node"), shutil.which("npm")
    if found[0] is None or found[1] is None:
        raise Missing("there is no node or no npm")
    if not _is_ready("node", PACKAGES):
        folder = FOLDER / "node"
        folder.mkdir(parents=True, exist_ok=True)
        for each in PACKAGES:
            shutil.copy(each, folder)
        _run([found[1], "ci", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", "--silent"])
        _set_ready("node", PACKAGES)
    return Path(found[0])


def _run(command: list[str]) -> None:
    try:
        subprocess.run(  # noqa: S603 - pip and npm, with our own lock files
            command, check=True, capture_output=True, text=True, timeout=PATIENCE, cwd=ROOT
        )
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip().splitlines() or [f"exit status {error.returncode}"]
        raise Missing(f"could not be installed ({said[-1]})") from error
    except (subprocess.TimeoutExpired, OSError) as error:
        raise Missing(f"could not be installed ({error})") from error


def _is_ready(name: str, locks: Sequence[Path]) -> bool:
    stamp = FOLDER / f"{name}.installed"
    return stamp.exists() and stamp.read_text() == _digest(locks)


def _set_ready(name: str, locks: Sequence[Path]) -> None:
    (FOLDER / f"{name}.installed").write_text(_digest(locks))


def _digest(locks: Sequence[Path]) -> str:
    interpreter = f"{sys.version_info[:2]}".encode()
    return hashlib.sha256(b"".join([interpreter, *(each.read_bytes() for each in locks)])).hexdigest()
