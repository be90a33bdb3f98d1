"""Tables for spreadsheets: CSV whose cells are only ever text or numbers, whoever wrote what stands in them."""

import csv
import datetime as dt
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

# A spreadsheet takes a text for a formula by its first character (owasp.org/www-community/attacks/CSV_Injection);
# East Asian editions read the full-width forms of those characters alike. A line feed is cut off by some, as CR is.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - the full-width forms


def cell(value: Any) -> str:
    """What a value reads in a cell: empty for None, `yes` or `no` for a truth, ISO 8601 in UTC for a time, a plain
    number for a number. A text that a spreadsheet would run is led by an apostrophe; NUL is left out."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int() | float() | Decimal():
            return str(value)  # a minus of our own starts a number, not a formula
        case dt.datetime():
            return value.astimezone(dt.UTC).isoformat(timespec="seconds").removesuffix("+00:00") + "Z"
    text = str(value).replace("\0", "")
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_lines(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """The table's lines, each with its line end, made as they are asked for (RFC 4180). Raises ValueError for a row
    that is not as long as the header.

    Whoever writes them to a file for Excel encodes them as `utf-8-sig`: without its mark Excel guesses wrongly.
    """
    writer = csv.writer(_Line())
    yield writer.writerow([cell(each) for each in header])
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} cells under {len(header)} headings")
        yield writer.writerow([cell(each) for each in row])


class _Line:
    """What csv.writer writes to: it answers with the line, and writerow answers with that."""

    def write(self, line: str) -> str:
        return line
