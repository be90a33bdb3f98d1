"""The findings of check_stripe and check_sendgrid, run against the sandbox over HTTP."""

import io
import json
from typing import Any

from django.core.management import call_command


def findings(command: str, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
    """Exit status and all findings."""
    out = io.StringIO()
    status: Any = 0
    try:
        call_command(command, "--json", *arguments, stdout=out)
    except SystemExit as end:
        status = end.code
    answer = json.loads(out.getvalue())
    assert answer["status"] == status
    return status, answer["findings"]


def troubles(command: str, *arguments: str) -> tuple[int, list[str]]:
    """Exit status and whatever is not right, as "verdict about: says"; notes are left out."""
    status, found = findings(command, *arguments)
    for each in found:
        assert bool(each["todo"]) or each["verdict"] in ("right", "note"), f"nothing to do about it: {each}"
    bad = [each for each in found if each["verdict"] in ("wrong", "unasked")]
    return status, [f"{each['verdict']} {each['about']}: {each['says']}" for each in bad]


def notes(command: str) -> str:
    return "\n".join(each["says"] for each in findings(command)[1] if each["verdict"] == "note")
