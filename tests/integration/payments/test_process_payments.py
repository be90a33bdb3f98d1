"""The command: everything that is due, in batches of calls under way at once."""

from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command

from payments.models import Payment

if TYPE_CHECKING:
    from tests.integration.payments.scene import Scene


def succeeded() -> int:
    return Payment.objects.filter(status=Payment.Status.SUCCEEDED).count()


def test_until_nothing_is_due(scene: "Scene", capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(5):
        scene.payment()
    waiting = scene.payment(released=False)
    call_command("process_payments", "--batch", "2")
    assert succeeded() == 5
    assert scene.fresh(waiting).status == Payment.Status.UNPROCESSED
    assert "5 payments tried." in capsys.readouterr().out


def test_until_the_limit(scene: "Scene") -> None:
    for _ in range(5):
        scene.payment()
    call_command("process_payments", "--batch", "2", "--limit", "3")
    assert succeeded() == 3
