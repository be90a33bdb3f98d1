"""Small, plausible mistakes in the code that keeps money safe: catalogue.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

CATALOGUE = Path(__file__).with_name("catalogue.toml")


class Outdated(Exception):
    """The code is no longer what the mutant would change: give the mutant the new text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """`name` says the mistake: in `file`, each old text of `edits` stands exactly once and becomes its new one.

    `killed_by` are the tests (pytest's names) of which at least one must fail then; a mutant without any carries
    the proof, in one sentence, that it is `equivalent`.
    """

    name: str
    file: str
    edits: tuple[tuple[str, str], ...]
    killed_by: tuple[str, ...] = ()
    equivalent: str = ""

    @classmethod
    def read(cls, entry: dict[str, Any]) -> Self:
        edits = tuple((edit["old"], edit["new"]) for edit in entry.pop("edit"))
        killed_by = tuple(entry.pop("killed_by", ()))
        mutant = cls(**entry, edits=edits, killed_by=killed_by)
        if bool(mutant.killed_by) == bool(mutant.equivalent):
            raise ValueError(f"{mutant.name}: it is either killed by tests, or equivalent")
        return mutant

    def apply(self, project: Path) -> None:
        """Make the mistake in that copy of the project. Raises Outdated."""
        path = project / self.file
        text = path.read_text()
        for old, new in self.edits:
            if text.count(old) != 1:
                raise Outdated(f"{self.file} has {text.count(old)} times {old!r}")
            text = text.replace(old, new)
        compile(text, str(path), "exec")
        path.write_text(text)


def catalogue() -> list[Mutant]:
    """All mutants. Raises ValueError for one that claims nothing."""
    return [Mutant.read(entry) for entry in tomllib.loads(CATALOGUE.read_text())["mutant"]]
