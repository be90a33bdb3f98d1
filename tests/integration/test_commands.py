"""Every command explains itself, refuses what cannot be meant, and ends cleanly on Ctrl-C."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import execute_from_command_line, get_commands, load_command_class
from django.db import connection

from outbox.management.commanding import StoreCommand
from tests.database_url import database_url
from tests.integration.orders import offer, place
from tests.local.waiting import wait_until
from tests.sandbox_process import SandboxProcess

pytestmark = pytest.mark.django_db(transaction=True)

ROOT = Path(__file__).parents[2]
APPS = ("outbox", "payments", "shop", "notifications")
OURS = sorted(name for name, app in get_commands().items() if app in APPS)


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "DATABASE_URL": database_url(), "PYTHONUNBUFFERED": "1", "COLUMNS": "100", **more}


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment(**more), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def started() -> Iterator[Any]:
    """Starts a command; whatever still runs at the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_every_command_explains_itself() -> None:
    assert len(OURS) > 12
    for name in OURS:
        command = load_command_class(get_commands()[name], name)
        assert isinstance(command, StoreCommand), f"{name} has not the store's manners"
        parser = command.create_parser("manage.py", name)
        text = parser.format_help()
        assert len(command.help) > 40, f"{name} does not say what it is for"
        assert "exit codes:" in text
        assert re.search(r"^    0  \S", text, re.MULTILINE), f"{name} does not say what 0 means"
        assert "  130  " in text
        for action in parser._actions:
            assert action.help, f"{name}: {action.dest} is not explained"
        for example in command.examples:
            assert f"manage.py {name} {example}".rstrip() in text


def test_a_process_prints_the_help() -> None:
    shown = run("check_stripe", "--help")
    assert shown.returncode == 0
    assert "  python manage.py check_stripe --expect test" in shown.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("process_payments", "--batch", "0"), "'0' is not a whole number from 1"),
        (("relay_outbox", "--limit", "many"), "'many' is not a whole number from 1"),
        (("dispatch_events", "order-proces"), "there is no subscription 'order-proces' in this build"),
        (("purge_outbox", "--days", "-1"), "'-1' is not a whole number from 1"),
        (("run_workers", "paymentz"), "paymentz"),
        (("pipeline_status", "--watch", "--wait-quiet", "5"), "not allowed with"),
        (("pipeline_status", "--watch", "--interval", "0"), "'0' is not a number of seconds above 0"),
        (("simulate_shoppers", "--orders", "3", "--declines", "120"), "'120' is not a number from 0 to 100"),
        (("simulate_shoppers", "--orders", "3", "--file", "/nowhere/result.json"), "Name another --file."),
        (("simulate_warehouse",), "It needs a token"),
        (("preview_mail", "order_lost"), "invalid choice: 'order_lost'"),
        (("check_money", "--invariant", "S99"), "S99"),
        (("export_unsettled", "--output", "/nowhere/file.csv"), "/nowhere"),
        (("demo", "--with-kills"), "--with-kills needs --orders."),
        (("check_stripe", "--expect", "real"), "invalid choice: 'real'"),
        (("feed_token", "create", "warehouse", "\t"), "1 to 100 printable characters"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        execute_from_command_line(["manage.py", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["pipeline_status", "check_money", "relay_outbox", "export_unsettled"])
def test_a_database_that_is_away_is_said_in_a_sentence(command: str) -> None:
    ended = run(command, DATABASE_URL="postgresql://store@127.0.0.1:9/store")
    assert ended.returncode == 2
    assert "database could not be" in ended.stderr
    assert "Traceback" not in ended.stderr


def interrupt(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_ctrl_c_finishes_the_batch_and_says_what_was_done(started: Any, sandbox: SandboxProcess) -> None:
    """The bank is slow, so that the signal comes while a call is under way: it is finished and recorded."""
    sandbox.clear_faults()
    order = place(offer()).order
    for command in ("relay_outbox", "dispatch_events"):
        assert run(command).returncode == 0
    sandbox.add_fault("payment_intents.confirm", "delay", seconds=2)
    process = started("process_payments", "--watch", STRIPE_API_BASE=sandbox.url)
    wait_until(lambda: "payment_intents.confirm" in sandbox.stats()["in_flight"])
    code, out, err = interrupt(process)
    sandbox.clear_faults()
    assert (code, out) == (130, "1 payments tried, then interrupted.\n"), err
    assert "Traceback" not in err
    with connection.cursor() as cursor:
        cursor.execute("SELECT status FROM payments_payment WHERE order_id = %s", [order.pk])
        assert cursor.fetchone() == ("succeeded",)


def test_workers_stop_on_ctrl_c(started: Any) -> None:
    process = started("run_workers", "outbox")
    assert process.stdout.readline().startswith("Running ")
    code, out, err = interrupt(process)
    assert code == 130
    assert "Stopped; 0 items were handled." in out
    assert "Traceback" not in err


def test_sigterm_is_the_ordinary_end_of_workers(started: Any) -> None:
    process = started("run_workers", "outbox")
    process.stdout.readline()
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_a_second_signal_ends_workers_at_once(started: Any, sandbox: SandboxProcess) -> None:
    """While a call is under way, which the first would wait for."""
    sandbox.clear_faults()
    place(offer())
    for command in ("relay_outbox", "dispatch_events"):
        assert run(command).returncode == 0
    sandbox.add_fault("payment_intents.create", "delay", seconds=20)
    process = started("run_workers", "payments", STRIPE_API_BASE=sandbox.url)
    wait_until(lambda: "payment_intents.create" in sandbox.stats()["in_flight"])
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    sandbox.clear_faults()
    assert process.returncode == 130, err
    assert "Stopped" not in out
    assert "Traceback" not in err


def test_a_watch_ends_on_ctrl_c(started: Any) -> None:
    process = started("pipeline_status", "--watch", "--json", "--interval", "0.1")
    first, second = json.loads(process.stdout.readline()), json.loads(process.stdout.readline())
    assert first["quiet"] is second["quiet"] is True
    code, _, err = interrupt(process)
    assert code == 130
    assert "Traceback" not in err


def test_a_summary_for_programs() -> None:
    place(offer())
    summary = json.loads(run("relay_outbox", "--json").stdout)
    assert summary.pop("seconds") >= 0
    assert summary == {"done": 2, "what": "events relayed", "interrupted": False}
