"""What a kill, a torn file, a taken port and a second sandbox do."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import stripe

from tests.sandbox.clients import RETURN_URL, confirmed, created, eventually, new_key, paid, stripe_client
from tests.sandbox_process import ROOT, SandboxProcess


def refused_start(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )


def test_everything_that_was_answered_survives_a_kill(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as world:
        bank = stripe_client(world)
        answered: dict[str, str] = {}

        def shop(number: int) -> None:
            while True:
                try:
                    intent = created(bank, metadata={"order": str(number)})
                    answered[intent.id] = intent.status
                    answered[intent.id] = confirmed(bank, intent.id, "pm_card_visa").status
                except stripe.APIConnectionError:
                    return

        with ThreadPoolExecutor(8) as pool:
            runs = [pool.submit(shop, number) for number in range(8)]
            eventually(lambda: len(answered) > 40, what="some payments")
            world.kill()
            for run in runs:
                run.result()
        world.start()
        for intent_id, status in answered.items():
            found = bank.v1.payment_intents.retrieve(intent_id).status
            assert found == status or (status == "requires_payment_method" and found == "succeeded")
        charged = [value for value in world.bank_objects("payment_intent").values() if value["status"] == "succeeded"]
        assert len(world.bank_objects("charge")) == len(charged)


def test_a_lost_answer_is_replayed_after_a_kill(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as world:
        bank, key = stripe_client(world), new_key()
        intent = created(bank)
        params = {"payment_method": "pm_card_visa", "return_url": RETURN_URL}
        world.add_fault("payment_intents.confirm", "drop_after", times=1)
        with pytest.raises(stripe.APIConnectionError):
            bank.v1.payment_intents.confirm(intent.id, params, {"idempotency_key": key})  # type: ignore[arg-type]
        world.kill()
        world.start()
        replay = bank.v1.payment_intents.confirm(intent.id, params, {"idempotency_key": key})  # type: ignore[arg-type]
        assert replay.status == "succeeded"
        assert len(bank.v1.charges.list({"payment_intent": intent.id}).data) == 1


def test_what_had_not_settled_settles_after_a_kill(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path, settle_seconds=0.5) as world:
        bank = stripe_client(world)
        disputed = paid(bank, method="pm_card_createDispute")
        refund = bank.v1.refunds.create({"payment_intent": paid(bank, method="pm_card_pendingRefund").id})
        slow = confirmed(bank, created(bank).id, "pm_usBankAccount_success")
        world.kill()
        world.start()
        eventually(lambda: bank.v1.refunds.retrieve(refund.id).status == "succeeded", what="the refund")
        eventually(lambda: bank.v1.disputes.list({"payment_intent": disputed.id}).data, what="the dispute")
        eventually(lambda: bank.v1.payment_intents.retrieve(slow.id).status == "succeeded", what="the settlement")


def test_a_torn_last_line_is_dropped_and_writing_goes_on(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as world:
        bank = stripe_client(world)
        kept = created(bank)
        world.kill()
        with (tmp_path / "bank.jsonl").open("ab") as file:
            file.write(b'{"n":99,"op":"payment_intents.cr')
        world.start()
        assert bank.v1.payment_intents.retrieve(kept.id).id == kept.id
        later = created(bank)
        world.kill()
        world.start()
        assert bank.v1.payment_intents.retrieve(later.id).id == later.id
        numbers = [line["n"] for line in world.ledger()]
        assert numbers == sorted(set(numbers))


def test_a_damaged_line_in_the_middle_is_no_start(tmp_path: Path) -> None:
    (tmp_path / "bank.jsonl").write_text('{"n":1,"op":"x"\n{"n":2,"op":"y"}\n')
    failed = refused_start("--data", str(tmp_path))
    assert failed.returncode == 2
    assert "unreadable line" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_port_in_use_is_said_clearly(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        failed = refused_start("--data", str(tmp_path), "--port", port)
    assert failed.returncode == 2
    assert f"port {port} of 127.0.0.1 is in use" in failed.stderr


def test_one_folder_serves_one_sandbox(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path):
        failed = refused_start("--data", str(tmp_path))
    assert failed.returncode == 2
    assert "in use by another sandbox" in failed.stderr


def test_a_webhook_url_needs_its_secret(tmp_path: Path) -> None:
    failed = refused_start("--data", str(tmp_path), "--stripe-webhook-url", "http://127.0.0.1:9/")
    assert failed.returncode == 2
    assert "--stripe-webhook-secret" in failed.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_when_asked(tmp_path: Path, number: signal.Signals) -> None:
    process = SandboxProcess(tmp_path).start()
    created(stripe_client(process))
    assert process._end(number) == 0
    assert (tmp_path / "sandbox.log").read_text() == ""


def test_a_line_is_on_the_disk_before_the_answer(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as world:
        intent = created(stripe_client(world), metadata={"order": "7"})
        lines = [json.loads(line) for line in (tmp_path / "bank.jsonl").read_text().splitlines()]
        assert lines[-1]["intent"] == intent.id
        assert lines[-1]["objects"][0]["metadata"] == {"order": "7"}


def test_the_ledger_is_read_from_any_line_on(tmp_path: Path) -> None:
    with SandboxProcess(tmp_path) as world:
        bank = stripe_client(world)
        for _ in range(5):
            created(bank)
        everything = world.control("GET", "ledger?after=0")
        assert [line["n"] for line in everything["lines"]] == [1, 2, 3, 4, 5]
        page = world.control("GET", "ledger?after=2&limit=2")
        assert ([line["n"] for line in page["lines"]], page["through"], page["last"]) == ([3, 4], 4, 5)
        assert world.control("GET", "ledger?after=5")["lines"] == []
