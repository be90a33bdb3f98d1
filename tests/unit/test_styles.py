"""What the pages' looks have in common: whoever tests one of them knows something about the others."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SHEETS = sorted(each for folder in ("shop", "outbox", "sandbox") for each in (PROJECT / folder).rglob("*.css"))


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda sheet: sheet.name)
def test_in_the_dark_only_colours_are_others(sheet: Path) -> None:
    """Between its braces stands one rule, about the colours' names."""
    for rules in re.findall(r"prefers-color-scheme: dark\)\s*{(.*?)\n}", sheet.read_text(), re.DOTALL):
        selector, _, declarations = rules.strip().removesuffix("}").partition("{")
        assert selector.strip().startswith(":root"), selector
        assert "{" not in declarations
        named = {each.partition(":")[0].strip() for each in declarations.split(";") if each.strip()}
        assert named
        assert {each for each in named if not each.startswith("--")} <= {"color-scheme"}
