"""Questions that no machine may decide: each waits for a person, with its age, its owner and what was decided."""

import uuid
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now

from outbox import decisions
from outbox.operating import Operation


class Resolved(Exception):
    """Somebody has resolved it; the message says who."""


class Question(models.Model):
    """Columns of a row that waits for a person; a concrete model says what it is about."""

    owner = models.CharField(max_length=150, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    resolved_by = models.CharField(max_length=150, blank=True)
    resolution = models.TextField(blank=True)

    class Meta:
        abstract = True
        constraints: ClassVar[list[Any]] = [
            models.CheckConstraint(
                condition=Q(resolved_at__isnull=True, resolved_by="")
                | (Q(resolved_at__isnull=False) & ~Q(resolved_by="") & ~Q(resolution="")),
                name="%(class)s_resolved_by_somebody",
            )
        ]
        indexes: ClassVar[list[Any]] = [
            models.Index(fields=["id"], name="%(class)s_open", condition=Q(resolved_at__isnull=True))
        ]


RowT = TypeVar("RowT", bound=Question)


def take(question: RowT, *, story: object = "", actor: str, reason: str) -> None:
    """Become its owner, also in another's place. Raises Resolved."""
    with transaction.atomic():
        row = _open(question)
        _rows(row).update(owner=actor)
        _record("take", row, story, actor=actor, reason=reason, after=f"looked after by {actor}")


def resolve(question: RowT, *, story: object = "", actor: str, reason: str) -> None:
    """Close it; the reason is the resolution. Raises Resolved."""
    with transaction.atomic():
        row = _open(question)
        _rows(row).update(resolved_at=Now(), resolved_by=actor, resolution=reason)
        _record("resolve", row, story, actor=actor, reason=reason, after="resolved")


def state(question: Question) -> str:
    """How it stands, in few words."""
    if question.resolved_at is not None:
        return f"resolved by {question.resolved_by}"
    return f"looked after by {question.owner}" if question.owner else "open"


def question_operations(
    permission: str, *, story: Callable[[RowT], object]
) -> tuple["Operation[RowT]", "Operation[RowT]"]:
    """What a person may do with one: take it, resolve it."""

    class _Question(Operation[RowT]):
        expected = (Resolved,)

        def refusal(self, row: RowT, *, actor: str) -> str:
            return "" if row.resolved_at is None else f"It was {state(row)}: {row.resolution}"

    class Take(_Question):
        """Your name stands beside it: others see that somebody looks after it."""

        name, label = "take", "Look after it"

        def perform(self, row: RowT, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
            take(row, story=story(row), actor=actor, reason=values["reason"])
            return "It is yours."

    class Resolve(_Question):
        """What was to be decided is decided and done; the reason you give is what others will read. Nothing else
        happens by itself."""

        name, label = "resolve", "Resolve it"

        def perform(self, row: RowT, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
            resolve(row, story=story(row), actor=actor, reason=values["reason"])
            return "It is resolved."

    for each in (Take, Resolve):
        each.permission = permission
    return Take(), Resolve()


def _rows(row: RowT) -> "models.QuerySet[RowT]":
    return type(row)._default_manager.filter(pk=row.pk)


def _open(question: RowT) -> RowT:
    row = _rows(question).select_for_update(no_key=True, of=("self",)).get()
    if row.resolved_at is not None:
        raise Resolved(f"It was {state(row)}: {row.resolution}")
    return row


def _record(kind: str, row: Question, story: object, *, actor: str, reason: str, after: str) -> None:
    decisions.record(kind=kind, about=row, story=story, actor=actor, reason=reason, before=state(row), after=after)
