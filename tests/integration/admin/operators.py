"""Operators at the admin's pages, each with a browser of their own; CSRF checked as in life."""

import itertools
from typing import Any

from django.contrib.auth.models import Group, User
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from shop.groups import ensure_all
from shop.simulation.pages import Form, Page

_numbers = itertools.count(1)


class Operator:
    """Somebody of a group (of none: staff without any permission), logged in."""

    def __init__(self, *groups: str) -> None:
        if not Group.objects.exists():
            ensure_all()  # a test before emptied the tables
        self.name = f"olga-{next(_numbers)}"
        user = User.objects.create_user(self.name, is_staff=True)
        user.groups.set(Group.objects.filter(name__in=groups))
        self.client = Client(enforce_csrf_checks=True)
        self.client.force_login(user)

    @property
    def actor(self) -> str:
        return f"operator:{self.name}"

    def look(self, row: Any, operation: str) -> HttpResponse:
        """The confirmation's page."""
        response: Any = self.client.get(address(row, operation))
        return response  # type: ignore[no-any-return]

    def form(self, row: Any, operation: str) -> Form:
        """The confirmation's form, as the browser holds it."""
        form = Page.read(self.look(row, operation).content.decode()).form_with("token")
        assert form is not None, "the page offers no confirmation"
        return form

    def send(self, row: Any, operation: str, data: dict[str, str]) -> HttpResponse:
        response: Any = self.client.post(address(row, operation), data)
        return response  # type: ignore[no-any-return]

    def forged(self, row: Any, operation: str, **values: str) -> HttpResponse:
        """The POST of somebody who never got the page, with the rest as it should be."""
        self.client.get(reverse("admin:password_change"))
        token = self.client.cookies["csrftoken"].value
        return self.send(row, operation, {"csrfmiddlewaretoken": token, "token": TOKEN, "reason": "x", **values})

    def twin(self) -> "Operator":
        """The same browser once more, for a second request at the same time."""
        twin = object.__new__(Operator)
        twin.name, twin.client = self.name, Client(enforce_csrf_checks=True)
        twin.client.cookies = self.client.cookies
        return twin


TOKEN = "6f0c2c9e-7f0a-4f53-9df1-3b3a5e0f7c11"


def address(row: Any, operation: str) -> str:
    return reverse("operate", args=[row._meta.label_lower, row.pk, operation])
