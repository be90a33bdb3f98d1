"""The catalogue of mistakes keeps up with the code (tests/mutants)."""

import shutil
from pathlib import Path

import pytest

from tests.mutants.mutant import Mutant, Outdated, catalogue

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize("mutant", catalogue(), ids=lambda mutant: mutant.name)
def test_each_can_still_be_made(mutant: Mutant, tmp_path: Path) -> None:
    copy = tmp_path / mutant.file
    copy.parent.mkdir(parents=True)
    shutil.copy(PROJECT / mutant.file, copy)
    mutant.apply(tmp_path)
    assert copy.read_text() != (PROJECT / mutant.file).read_text()
    assert all((PROJECT / test.partition("::")[0]).exists() for test in mutant.killed_by)


def test_code_that_has_changed_is_said(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("x = 1\n")
    gone = Mutant(name="m", file="code.py", edits=(("x = 2", "x = 3"),), killed_by=("t",))
    with pytest.raises(Outdated, match="0 times 'x = 2'"):
        gone.apply(tmp_path)


def test_a_mutant_claims_something() -> None:
    with pytest.raises(ValueError, match="killed by tests, or equivalent"):
        Mutant.read({"name": "m", "file": "code.py", "edit": [{"old": "1", "new": "2"}]})
