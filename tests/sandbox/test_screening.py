"""The screening service: what it says about orders, what it refuses, and that asking twice is asking once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.sandbox.clients import new_key
from tests.sandbox_process import SandboxProcess

KEY = {"Authorization": "Bearer scr_test"}


def a_question(**changes: Any) -> dict[str, Any]:
    return {
        "reference": new_key(),
        "country": "DE",
        "postal_code": "20457",
        "amount": 19900,
        "currency": "EUR",
        "email_sha256": "0" * 64,
        **changes,
    }


def asked(world: SandboxProcess, question: object, **headers: str) -> requests.Response:
    return requests.post(f"{world.url}/screening/v1/checks", json=question, headers=KEY | headers, timeout=5)


def lines(world: SandboxProcess, reference: str) -> list[dict[str, Any]]:
    return [line for line in world.ledger(book="screening") if line.get("check", {}).get("reference") == reference]


@pytest.mark.parametrize(
    ("place", "reasons"),
    [
        ({}, []),
        ({"postal_code": "99999"}, ["postal_code"]),
        ({"country": "SE", "postal_code": "999 99"}, ["postal_code"]),
        ({"country": "DK", "postal_code": "9999"}, ["postal_code"]),
        ({"country": "ZZ"}, ["country"]),
    ],
)
def test_all_pass_but_a_few_places(world: SandboxProcess, place: dict[str, str], reasons: list[str]) -> None:
    question = a_question(**place)
    answer = asked(world, question)
    check = answer.json()
    assert answer.status_code == 200
    assert check["id"].startswith("chk_")
    assert (check["reference"], check["reasons"]) == (question["reference"], reasons)
    assert check["result"] == ("failed" if reasons else "passed")
    assert [line["question"] for line in lines(world, question["reference"])] == [question]


def test_the_same_question_has_one_answer(world: SandboxProcess) -> None:
    question = a_question()
    assert asked(world, question).json() == asked(world, question).json()
    assert len(lines(world, question["reference"])) == 1
    other = asked(world, {**question, "amount": 1})
    assert (other.status_code, other.json()["error"]["message"]) == (
        422,
        "this reference was used for another question",
    )


@pytest.mark.parametrize(
    "question",
    [
        None,
        [],
        {},
        a_question(name="Ada Lovelace"),
        a_question(reference=""),
        a_question(country="Germany"),
        a_question(amount=0),
        a_question(amount="19900"),
        a_question(amount=True),
        a_question(email_sha256="ada@example.org"),
    ],
)
def test_what_is_refused(world: SandboxProcess, question: object) -> None:
    assert asked(world, question).status_code == 400


def test_keys(world: SandboxProcess) -> None:
    assert asked(world, a_question(), Authorization="Bearer SG.x").status_code == 401
    assert asked(world, a_question(), Authorization="").status_code == 401


def test_faults(world: SandboxProcess) -> None:
    question = a_question()
    world.add_fault("screening.check", "drop_after", times=1)
    with pytest.raises(requests.ConnectionError):
        asked(world, question)
    assert len(lines(world, question["reference"])) == 1
    world.add_fault("screening", "rate_limit", times=1)
    limited = asked(world, question)
    assert (limited.status_code, limited.headers["Retry-After"]) == (429, "1")
    assert asked(world, question).status_code == 200
    assert len(lines(world, question["reference"])) == 1


def test_it_is_slow_and_remembers(tmp_path: Path) -> None:
    question = a_question()
    with SandboxProcess(tmp_path, screening_seconds=0.5) as world:
        begun = time.monotonic()
        check = asked(world, question).json()
        assert time.monotonic() - begun >= 0.5
        world.kill()
        world.start()
        begun = time.monotonic()
        assert asked(world, question).json() == check
        assert time.monotonic() - begun < 0.5
