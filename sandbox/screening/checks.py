"""The checks that were made, each once for its caller's reference.

Everything passes, except what is to be delivered to a place of these:

- the postal codes 99999 (five digits) and 9999 (four digits), in any country
- the country ZZ
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any

from sandbox.jsons import Json
from sandbox.ledger import Ledger

FAILING_POSTAL_CODES = frozenset({"99999", "9999"})
FAILING_COUNTRIES = frozenset({"ZZ"})

_TEXTS = {
    "reference": r"[A-Za-z0-9-]{1,64}",
    "country": r"[A-Z]{2}",
    "postal_code": r".{0,20}",
    "currency": r"[A-Z]{3}",
    "email_sha256": r"[0-9a-f]{64}",
}
"""Field → its form."""
_FIELDS = frozenset({*_TEXTS, "amount"})


class Checks:
    """Every check by the reference it was asked under."""

    def __init__(self, *, ledger: Ledger) -> None:
        self._ledger = ledger
        self._made: dict[str, Json] = {}

    def commit(self, line: Json) -> Json:
        """Append a line and take it over; return it. It is on the disk only once awaited."""
        line = self._ledger.append("screening", line)
        self.restore(line)
        return line

    def restore(self, line: Json) -> None:
        """Take over one line, live or from a former process."""
        if check := line.get("check"):
            self._made[check["reference"]] = {"check": check, "question": line["question"]}

    def made(self, question: Json) -> Json | None:
        """Return the check that this reference already has. Raises LookupError: it was of another question."""
        known = self._made.get(question["reference"])
        if known is None:
            return None
        if known["question"] != question:
            raise LookupError("this reference was used for another question")
        check: Json = known["check"]
        return check

    def make(self, question: Json, *, line: Json) -> Json:
        """Make a valid question's check; return its ledger line."""
        reasons = sorted(_against(question))
        check = {
            "id": f"chk_{secrets.token_hex(12)}",
            "reference": question["reference"],
            "result": "failed" if reasons else "passed",
            "reasons": reasons,
        }
        return self.commit({**line, "question": question, "check": check})


def wrong_field(question: Any) -> str | None:
    """Return the name of a field that is missing, of the wrong form, or not wanted here; None: all is well.

    Names, addresses and whatever else tells who somebody is are not wanted.
    """
    if not isinstance(question, dict):
        return "body"
    if unexpected := _FIELDS ^ set(question):
        return str(min(unexpected))
    for name, form in _TEXTS.items():
        value = question[name]
        if not isinstance(value, str) or not re.fullmatch(form, value):
            return name
    amount = question["amount"]
    return None if type(amount) is int and amount > 0 else "amount"


def _against(question: Json) -> Iterator[str]:
    if question["country"] in FAILING_COUNTRIES:
        yield "country"
    if question["postal_code"].replace(" ", "") in FAILING_POSTAL_CODES:
        yield "postal_code"
