"""Every setting that production must not run without, one at a time."""

import os
import subprocess
import sys
from typing import Any

import environ
import pytest

from shop.checks import check_settings
from shop.settings import BASE_DIR

PRODUCTION = {
    "DEBUG": False,
    "SECRET_KEY": "abcdefghijklmnopqrstuvwxyz-0123456789-ABCDEFGHIJKLMNOPQ",
    "ALLOWED_HOSTS": ["store.example"],
    "STORE_HTTPS": True,
    "STORE_ADDRESS": "https://store.example",
    "STORE_CURRENCY": "EUR",
    "STRIPE_SECRET_KEY": "sk_live_x",
    "STRIPE_PUBLISHABLE_KEY": "pk_live_x",
    "STRIPE_WEBHOOK_SECRET": ["whsec_x"],
    "STRIPE_API_BASE": "https://api.stripe.com",
    "STRIPE_JS_URL": "https://js.stripe.com/v3/",
    "SENDGRID_API_KEY": "SG.x",
    "SENDGRID_WEBHOOK_PUBLIC_KEY": "MFkw",
    "SCREENING_URL": "https://screening.example",
    "SCREENING_API_KEY": "scr_x",
    "PAYMENT_CALL_DEADLINE": 15.0,
    "PAYMENT_LEASE_SECONDS": 90,
    "MAIL_TIMEOUT": 15.0,
    "MAIL_LEASE_SECONDS": 60,
}
TEST_KEYS = {"STRIPE_SECRET_KEY": "sk_test_x", "STRIPE_PUBLISHABLE_KEY": "pk_test_x"}


@pytest.fixture(autouse=True)
def production(settings: Any) -> None:
    for name, value in PRODUCTION.items():
        setattr(settings, name, value)


def found() -> list[tuple[str, str]]:
    return [(str(message.id), f"{message.msg} {message.hint}") for message in check_settings()]


def test_good_settings_are_clean() -> None:
    assert found() == []


@pytest.mark.parametrize(
    ("changes", "id", "names"),
    [
        ({"SECRET_KEY": "insecure-unset"}, "shop.E001", "DJANGO_SECRET_KEY"),
        ({"SECRET_KEY": "django-insecure-" + "x1y2z3" * 10}, "shop.E001", "DJANGO_SECRET_KEY"),
        ({"SECRET_KEY": "short-but-various"}, "shop.E002", "DJANGO_SECRET_KEY"),
        ({"SECRET_KEY": "ab" * 40}, "shop.E002", "DJANGO_SECRET_KEY"),
        ({"ALLOWED_HOSTS": []}, "shop.E003", "DJANGO_ALLOWED_HOSTS"),
        ({"ALLOWED_HOSTS": ["store.example", "*"]}, "shop.E003", "DJANGO_ALLOWED_HOSTS"),
        ({"STRIPE_SECRET_KEY": ""}, "shop.E010", "STRIPE_SECRET_KEY"),
        ({"STRIPE_PUBLISHABLE_KEY": ""}, "shop.E010", "STRIPE_PUBLISHABLE_KEY"),
        ({"STRIPE_WEBHOOK_SECRET": []}, "shop.E010", "STRIPE_WEBHOOK_SECRET"),
        ({"SENDGRID_API_KEY": ""}, "shop.E010", "SENDGRID_API_KEY"),
        ({"SENDGRID_WEBHOOK_PUBLIC_KEY": ""}, "shop.E010", "SENDGRID_WEBHOOK_PUBLIC_KEY"),
        ({"STRIPE_PUBLISHABLE_KEY": "pk_test_x"}, "shop.E011", "STRIPE_PUBLISHABLE_KEY"),
        ({"STORE_HTTPS": False}, "shop.E012", "STORE_HTTPS"),
        ({"STRIPE_API_BASE": "http://127.0.0.1:9"}, "shop.E013", "STRIPE_API_BASE"),
        ({"STRIPE_API_BASE": "https://api.stripe.com.evil.example"}, "shop.E013", "STRIPE_API_BASE"),
        ({"STRIPE_JS_URL": "https://js.example/v3/"}, "shop.E013", "STRIPE_JS_URL"),
        (TEST_KEYS, "shop.W011", "STRIPE_SECRET_KEY"),
        ({"STORE_ADDRESS": "http://store.example"}, "shop.E021", "STORE_ADDRESS"),
        ({"STORE_ADDRESS": "store.example"}, "shop.E020", "STORE_ADDRESS"),
        ({"STORE_CURRENCY": "EURO"}, "shop.E022", "STORE_CURRENCY"),
        ({"STORE_CURRENCY": "XYZ"}, "shop.E022", "STORE_CURRENCY"),
        ({"PAYMENT_LEASE_SECONDS": 70}, "shop.E030", "PAYMENT_LEASE_SECONDS"),
        ({"PAYMENT_CALL_DEADLINE": 20.0}, "shop.E030", "PAYMENT_CALL_DEADLINE"),
        ({"MAIL_LEASE_SECONDS": 15}, "shop.E031", "MAIL_LEASE_SECONDS"),
        ({"SCREENING_API_KEY": ""}, "shop.E040", "SCREENING_API_KEY"),
        ({"SCREENING_URL": "http://screening.example"}, "shop.E041", "SCREENING_URL"),
    ],
)
def test_each_bad_value_is_one_message_that_names_the_variable(
    settings: Any, changes: dict[str, Any], id: str, names: str
) -> None:
    for name, value in changes.items():
        setattr(settings, name, value)
    ((found_id, text),) = found()
    assert found_id == id
    assert names in text


def test_a_missing_database_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(environ.Env.ENVIRON, "DATABASE_URL")
    assert [id for id, _ in found()] == ["shop.E004"]


def test_a_pool_is_refused(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(settings.DATABASES["default"]["OPTIONS"], "pool", True)
    assert [id for id, _ in found()] == ["shop.E005"]


def test_test_keys_at_the_sandbox_need_no_https(settings: Any) -> None:
    for name, value in {**TEST_KEYS, "STRIPE_API_BASE": "http://127.0.0.1:9", "STORE_HTTPS": False}.items():
        setattr(settings, name, value)
    assert found() == []


def test_debug_asks_for_nothing_but_never_with_a_live_key(settings: Any) -> None:
    settings.DEBUG, settings.SECRET_KEY, settings.ALLOWED_HOSTS = True, "insecure-unset", []
    assert [id for id, _ in found()] == ["shop.E014"]
    settings.STRIPE_SECRET_KEY = ""
    assert found() == []


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """With an environment of its own: only what a shell needs, and these variables."""
    known = {name: os.environ[name] for name in ("PATH", "DATABASE_URL", "HOME", "LANG") if name in os.environ}
    return subprocess.run(
        [sys.executable, *command],
        cwd=BASE_DIR,
        env={**known, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_web_server_refuses_to_start_and_says_why() -> None:
    ended = run("-c", "import shop.wsgi", DJANGO_DEBUG="0", DJANGO_SECRET_KEY="short")
    assert ended.returncode != 0
    assert "Set DJANGO_SECRET_KEY to at least 50 random characters." in ended.stderr
    assert "Set STRIPE_SECRET_KEY to the secret key" in ended.stderr
    assert "ImproperlyConfigured" in ended.stderr


def test_a_deployment_with_good_settings_has_no_warning() -> None:
    ended = run(
        *("manage.py", "check", "--deploy", "--fail-level", "WARNING"),
        DJANGO_DEBUG="0",
        DJANGO_SECRET_KEY=str(PRODUCTION["SECRET_KEY"]),
        DJANGO_ALLOWED_HOSTS="store.example",
        STORE_ADDRESS="https://store.example",
        STORE_HTTPS="1",
        STORE_CURRENCY="EUR",
        STRIPE_SECRET_KEY="sk_live_x",
        STRIPE_PUBLISHABLE_KEY="pk_live_x",
        STRIPE_WEBHOOK_SECRET="whsec_x",
        STRIPE_API_BASE="https://api.stripe.com",
        STRIPE_JS_URL="https://js.stripe.com/v3/",
        SENDGRID_API_KEY="SG.x",
        SENDGRID_WEBHOOK_PUBLIC_KEY="MFkw",
    )
    assert ended.returncode == 0, ended.stderr
