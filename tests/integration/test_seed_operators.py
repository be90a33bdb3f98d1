"""The demo's operators are in the groups that handle money, and keep what people made of them."""

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from shop.groups import APPROVER, OPERATOR, ensure_all

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_all()
    monkeypatch.setenv("PAYMENT_OPERATOR_PASSWORD", "a first password")
    monkeypatch.setenv("APPROVER_PASSWORD", "a second password")


def groups(name: str) -> list[str]:
    return list(User.objects.get(username=name).groups.order_by("name").values_list("name", flat=True))


def test_both_are_made_once() -> None:
    call_command("seed_operators")
    assert groups("payment-operator") == [OPERATOR]
    assert groups("approver") == [APPROVER, OPERATOR]
    approver = User.objects.get(username="approver")
    assert (approver.check_password("a second password"), approver.is_staff, approver.is_superuser) == (
        True,
        True,
        False,
    )
    approver.set_password("their own")
    approver.save()
    call_command("seed_operators")
    approver.refresh_from_db()
    assert approver.check_password("their own")


def test_without_a_password_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APPROVER_PASSWORD")
    with pytest.raises(CommandError, match="APPROVER_PASSWORD"):
        call_command("seed_operators")
    assert not User.objects.exists()
