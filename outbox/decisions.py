"""What people decide by hand: each decision is a row, written with its effect.

Whoever carries out a decision (a domain function, under the locks of what it changes) records it here, in the same
transaction. The token of the form it came from may be used once, so a second click is the same decision, not another.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.db import models, transaction
from django.db.models import QuerySet

from outbox.models import Decision

_form_token: ContextVar[uuid.UUID | None] = ContextVar("decision_token", default=None)


@contextmanager
def once(token: uuid.UUID) -> Iterator[None]:
    """The first decision recorded inside uses up this token."""
    reset = _form_token.set(token)
    try:
        yield
    finally:
        _form_token.reset(reset)


def subject_of(row: models.Model) -> tuple[str, str]:
    """How a decision names the row that it is about."""
    return row._meta.label_lower, str(row.pk)


def record(
    *,
    kind: str,
    about: models.Model,
    story: object = "",
    actor: str,
    reason: str,
    before: str = "",
    after: str = "",
) -> Decision:
    """Add the row. `story` is the order's id, where the decision belongs to one's timeline.

    Raises ValueError without a reason, and TransactionManagementError outside a transaction: a decision without its
    effect is a lie, and the other way round.
    """
    if not reason.strip():
        raise ValueError("A decision needs a reason: somebody will ask.")
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("A decision is recorded in the transaction of its effect.")
    subject, subject_id = subject_of(about)
    token = _form_token.get() or uuid.uuid4()
    _form_token.set(None)
    return Decision.objects.create(
        token=token,
        kind=kind,
        subject=subject,
        subject_id=subject_id,
        aggregateid=str(story),
        actor=actor,
        reason=reason,
        before=before[:200],
        after=after[:200],
    )


def about(row: models.Model, *, story: object = "") -> QuerySet[Decision]:
    """The decisions of the row's story, or where it has none, those about the row; the newest first."""
    if story:
        return Decision.objects.filter(aggregateid=str(story)).order_by("-id")
    return naming(*subject_of(row))


def naming(subject: str, subject_id: str) -> QuerySet[Decision]:
    """The decisions about that row, which may be gone since; the newest first."""
    return Decision.objects.filter(subject=subject, subject_id=subject_id).order_by("-id")
