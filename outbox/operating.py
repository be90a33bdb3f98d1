"""Operations: what people may do by hand, and how each is done exactly once.

An app declares in its `operations` module, for each kind of row, which operations there are. `carry_out` runs one in
a single transaction: wait for whoever decides about the same story, lock the row, see whether the form was used
already, whether anything has changed since the person looked, and whether it is still allowed; then call the one
domain function, which records the decision.
"""

import hashlib
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar, Generic, TypeVar

from django import forms
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, models, transaction
from django.utils.module_loading import autodiscover_modules

from outbox import decisions
from outbox.crash_points import crash_point
from outbox.models import Decision

RowT = TypeVar("RowT", bound=models.Model)
# A name and a value, as the confirmation shows them.
Fact = tuple[str, str]


class Refused(Exception):
    """It may not be done now; the message says why, for the operator."""


class Gone(Refused):
    """The row is no longer there."""


class Repeated(Exception):
    """This form was sent before, and was carried out then."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(str(decision))
        self.decision = decision


class Overtaken(Exception):
    """Something has changed since the person looked: `decisions` of others, or else a worker's results."""

    def __init__(self, state: str, newer: Sequence[Decision]) -> None:
        super().__init__(state)
        self.state = state
        self.decisions = newer


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=500,
        widget=forms.TextInput(attrs={"size": 60, "autocomplete": "off"}),
        help_text="Kept for good, beside your name.",
    )


class Operation(Generic[RowT]):
    """One thing that may be done with one kind of row. The docstring is what the confirmation explains.

    `expected` are the domain's own refusals, whose messages are meant for operators.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    permission: ClassVar[str]
    expected: ClassVar[tuple[type[Exception], ...]] = ()

    def refusal(self, row: RowT, *, actor: str) -> str:
        """Why it may not be done now; empty when it may."""
        raise NotImplementedError

    def facts(self, row: RowT) -> Iterable[Fact]:
        """What else to show before the person confirms."""
        return ()

    def form(self, row: RowT, data: Mapping[str, Any] | None = None) -> ReasonForm:
        return ReasonForm(data)

    def perform(self, row: RowT, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        """Call the domain function; returns a sentence about what was done. `values` are the form's, cleaned."""
        raise NotImplementedError


def _no_story(row: models.Model) -> str:
    return ""


def _no_rows(story: str) -> Iterable[Any]:
    return ()


def _nothing(row: models.Model) -> Iterable[Fact]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Subject(Generic[RowT]):
    """A kind of row and what may be done with it.

    `state` says in few words how a row stands: what a person decides upon. `story` is the order's id that a row
    belongs to, and `rows` the other way round, for the page that shows a whole story. `lock` takes the row's lock
    after those that come before it in the order of locks.
    """

    model: type[RowT]
    operations: Sequence[Operation[RowT]]
    lock: Callable[[str], RowT | None]
    state: Callable[[RowT], str]
    story: Callable[[RowT], object] = _no_story
    rows: Callable[[str], Iterable[RowT]] = _no_rows
    facts: Callable[[RowT], Iterable[Fact]] = _nothing

    @property
    def label(self) -> str:
        return self.model._meta.label_lower

    @property
    def url_name(self) -> str:
        """As the admin's addresses begin."""
        return self.label.replace(".", "_")

    @property
    def view_permission(self) -> str:
        return f"{self.model._meta.app_label}.view_{self.model._meta.model_name}"

    def operation(self, name: str) -> Operation[RowT] | None:
        return next((each for each in self.operations if each.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Looked:
    """A row as a person saw it: what they decide upon, and up to which decision they know of."""

    state: str
    through: int

    def __str__(self) -> str:
        """For a hidden field of the form."""
        return f"{self.through}-{hashlib.sha256(self.state.encode()).hexdigest()[:16]}"

    @staticmethod
    def through_of(text: str) -> int:
        """From such a field; 0 for anything else."""
        number = text.partition("-")[0]
        return int(number) if number.isascii() and number.isdecimal() and len(number) < 19 else 0


_subjects: dict[str, Subject[Any]] = {}
_story_facts: list[Callable[[str], Iterable[Fact]]] = []


def register(subject: Subject[Any]) -> None:
    """Declare a kind of row. Raises ImproperlyConfigured for one that is declared already."""
    if subject.label in _subjects:
        raise ImproperlyConfigured(f"The operations of {subject.label} are declared twice.")
    _subjects[subject.label] = subject


def story_facts(function: Callable[[str], Iterable[Fact]]) -> Callable[[str], Iterable[Fact]]:
    """Register a function from an order's id to what every confirmation about it shows."""
    _story_facts.append(function)
    return function


def locking(model: type[RowT]) -> Callable[[str], RowT | None]:
    """A subject's `lock` where the row's own is enough."""

    def lock(pk: str) -> RowT | None:
        return model._default_manager.select_for_update(no_key=True, of=("self",)).filter(pk=pk).first()

    return lock


@cache
def discover() -> None:
    """Find every app's operations."""
    autodiscover_modules("operations")


def subjects() -> Iterable[Subject[Any]]:
    discover()
    return _subjects.values()


def subject_called(label: str) -> Subject[Any] | None:
    discover()
    return _subjects.get(label)


def known_facts(subject: Subject[RowT], row: RowT) -> list[Fact]:
    """Of the story, then of the row."""
    story = str(subject.story(row))
    of_story = [fact for each in _story_facts for fact in each(story)] if story else []
    return [*of_story, *subject.facts(row)]


def look(subject: Subject[RowT], row: RowT) -> Looked:
    newest = decisions.about(row, story=subject.story(row)).values_list("id", flat=True).first()
    return Looked(state=subject.state(row), through=newest or 0)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a person asks for: who, with which form (its one-use token, what they saw), and the form's values."""

    actor: str
    token: uuid.UUID
    seen: str
    values: dict[str, Any] = field(default_factory=dict)


def _decide_alone(subject: Subject[RowT], pk: str) -> None:
    """One decision about a story at a time: a row's own lock says nothing of the story's other rows, and two people
    who act on two of them at the same moment would both find that nobody has decided anything. Before all locks of
    rows; only people take it, never a worker."""
    row = subject.model._default_manager.filter(pk=pk).first()
    story = str(subject.story(row)) if row is not None else ""
    if story:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"decision about {story}"])


def carry_out(subject: Subject[RowT], operation: Operation[RowT], pk: str, asked: Asked) -> str:
    """Do it, or say why not; returns a sentence about what was done.

    Raises Repeated, Overtaken, or Refused (Gone where the row has disappeared); nothing was written then.
    """
    with transaction.atomic():
        _decide_alone(subject, pk)
        row = subject.lock(pk)
        used = Decision.objects.filter(token=asked.token).first()
        if used is not None:
            raise Repeated(used)
        if row is None:
            raise Gone("This is no longer there: somebody may have dealt with it.")
        looked = look(subject, row)
        if asked.seen != str(looked):
            newer = decisions.about(row, story=subject.story(row)).filter(id__gt=Looked.through_of(asked.seen))
            raise Overtaken(looked.state, list(newer[:5]))
        if why := operation.refusal(row, actor=asked.actor):
            raise Refused(why)
        try:
            with decisions.once(asked.token):
                done = operation.perform(row, actor=asked.actor, token=asked.token, values=asked.values)
        except operation.expected as error:
            raise Refused(str(error)) from error
        crash_point("A1")
    crash_point("A2")
    return done
