"""Concerns: what waits for a person's decision, who looks after it, and what they decided."""

from django.db import transaction
from django.db.models.functions import Now

from outbox import decisions
from shop.models import Concern


class Resolved(Exception):
    """Somebody has resolved it; the message says who."""


def take(*, concern_id: int, actor: str, reason: str) -> None:
    """Become its owner, also in another's place. Raises Resolved."""
    with transaction.atomic():
        concern = _open(concern_id)
        Concern.objects.filter(pk=concern.pk).update(owner=actor)
        _record("take", concern, actor=actor, reason=reason, after=f"looked after by {actor}")


def resolve(*, concern_id: int, actor: str, reason: str) -> None:
    """Close it; the reason is the resolution. Raises Resolved."""
    with transaction.atomic():
        concern = _open(concern_id)
        Concern.objects.filter(pk=concern.pk).update(resolved_at=Now(), resolved_by=actor, resolution=reason)
        _record("resolve", concern, actor=actor, reason=reason, after="resolved")


def state(concern: Concern) -> str:
    """How it stands, in few words."""
    if concern.resolved_at is not None:
        return f"resolved by {concern.resolved_by}"
    return f"looked after by {concern.owner}" if concern.owner else "open"


def _open(concern_id: int) -> Concern:
    concern = Concern.objects.select_for_update(no_key=True).get(pk=concern_id)
    if concern.resolved_at is not None:
        raise Resolved(f"It was {state(concern)}: {concern.resolution}")
    return concern


def _record(kind: str, concern: Concern, *, actor: str, reason: str, after: str) -> None:
    decisions.record(
        kind=kind,
        about=concern,
        story=concern.order_id,
        actor=actor,
        reason=reason,
        before=state(concern),
        after=after,
    )
