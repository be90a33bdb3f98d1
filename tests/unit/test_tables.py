"""Cells that a spreadsheet neither runs nor garbles, in CSV that other programs read back."""

import csv
import datetime as dt
import io
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.tables import cell, csv_lines


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "\0=", "＝"])  # noqa: RUF001
def test_no_text_is_a_formula(first: str) -> None:
    assert cell(f"{first}HYPERLINK(1)") == f"'{first.removeprefix(chr(0))}HYPERLINK(1)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("", ""),
        (0, "0"),
        (-1250, "-1250"),
        (Decimal("-12.50"), "-12.50"),
        (True, "yes"),
        (False, "no"),
        ("a=b", "a=b"),
        ("a\0b", "ab"),
        ("\0", ""),
        ("€12.50", "€12.50"),
        (dt.datetime(2026, 1, 2, 4, 5, 6, 789, tzinfo=dt.timezone(dt.timedelta(hours=1))), "2026-01-02T03:05:06Z"),
    ],
)
def test_a_value_reads_as_it_is(value: Any, text: str) -> None:
    assert cell(value) == text


@given(st.text())
def test_whatever_stands_in_a_cell_is_harmless(text: str) -> None:
    shown = cell(text)
    assert not shown.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert "\0" not in shown
    assert shown.removeprefix("'") in (text.replace("\0", ""), text.replace("\0", "").removeprefix("'"))


@given(st.lists(st.tuples(st.text(), st.text(), st.integers())))
def test_what_is_written_is_read_back(rows: list[tuple[str, str, int]]) -> None:
    written = "".join(csv_lines(("a", "b", "n"), rows))
    read = list(csv.reader(io.StringIO(written, newline="")))
    assert read == [["a", "b", "n"], *([cell(each) for each in row] for row in rows)]


def test_lines_are_made_as_they_are_asked_for() -> None:
    def rows() -> Any:
        yield ("1",)
        raise RuntimeError("not asked for yet")

    lines = csv_lines(("a",), rows())
    assert next(lines) == "a\r\n"
    assert next(lines) == "1\r\n"
    with pytest.raises(RuntimeError):
        next(lines)


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="2 cells under 1"):
        list(csv_lines(("a",), [("1", "2")]))
