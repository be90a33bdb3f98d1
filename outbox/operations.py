"""What people may do with the log's readers: parked events, subscriptions, feed tokens."""

import uuid
from typing import Any

from django import forms

from outbox import feed_tokens, parking, registry, subscriptions
from outbox.models import FeedToken, ParkedEvent, Subscription
from outbox.operating import Fact, Operation, ReasonForm, Subject, locking, register

# --- parked events ----------------------------------------------------------------------------------


class _Parked(Operation[ParkedEvent]):
    permission = "outbox.repair_event"
    expected = (parking.NotParked,)

    def refusal(self, row: ParkedEvent, *, actor: str) -> str:
        behind = row.status == ParkedEvent.Status.QUEUED
        return "It waits behind an earlier event of its order: decide about that one." if behind else ""


class RetryParked(_Parked):
    """The handler gets the event again, with a fresh count of tries. Its order's later events follow when it works."""

    name, label = "retry", "Try again now"

    def perform(self, row: ParkedEvent, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        parking.retry(subscription=row.subscription_id, position=row.position, actor=actor, reason=values["reason"])
        return "The dispatcher tries it next."


class SkipParked(_Parked):
    """This reader will never handle the event: what it would have done, you have to do by hand. Its order's later
    events go on."""

    name, label = "skip", "Give it up"

    def perform(self, row: ParkedEvent, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        parking.skip(subscription=row.subscription_id, position=row.position, actor=actor, reason=values["reason"])
        return "The event is given up, and its order goes on."


def _lock_parked(pk: str) -> ParkedEvent | None:
    found = ParkedEvent.objects.filter(pk=pk).first()
    if found is None:
        return None
    subscriptions.lock(found.subscription_id)
    return ParkedEvent.objects.filter(pk=pk).first()


def _parked_facts(row: ParkedEvent) -> list[Fact]:
    return [
        ("Event", f"{row.type} at {row.position}"),
        ("Reader", row.subscription_id),
        ("Tries", str(row.attempts)),
        ("Error", row.error.strip().rpartition("\n")[2]),
    ]


register(
    Subject(
        model=ParkedEvent,
        operations=[RetryParked(), SkipParked()],
        lock=_lock_parked,
        state=lambda row: row.get_status_display().lower(),
        story=lambda row: row.aggregateid,
        rows=lambda story: ParkedEvent.objects.filter(aggregateid=story).order_by("subscription", "position"),
        facts=_parked_facts,
    )
)

# --- subscriptions ----------------------------------------------------------------------------------


class Pause(Operation[Subscription]):
    """The reader gets no events until somebody resumes it. Nothing is lost; what depends on it waits."""

    name, label, permission = "pause", "Pause", "outbox.operate_subscription"

    def refusal(self, row: Subscription, *, actor: str) -> str:
        return "It is paused." if row.paused else ""

    def perform(self, row: Subscription, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        subscriptions.set_paused(name=row.name, paused=True, actor=actor, reason=values["reason"])
        return f"{row.name} is paused."


class Resume(Operation[Subscription]):
    """The reader goes on where it stopped."""

    name, label, permission = "resume", "Resume", "outbox.operate_subscription"

    def refusal(self, row: Subscription, *, actor: str) -> str:
        return "" if row.paused else "It is running."

    def perform(self, row: Subscription, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        subscriptions.set_paused(name=row.name, paused=False, actor=actor, reason=values["reason"])
        return f"{row.name} runs again."


class ReplayForm(ReasonForm):
    position = forms.IntegerField(min_value=1, help_text="The first position of the log that it gets again.")


class Replay(Operation[Subscription]):
    """The reader gets everything from a position on again, after a fault in it was repaired. What it has done already
    takes no second effect; its parked events from there on are taken from the log anew."""

    name, label, permission = "replay", "Replay from a position", "outbox.operate_subscription"
    expected = (subscriptions.ReplayTooFar,)

    def refusal(self, row: Subscription, *, actor: str) -> str:
        return "" if row.position else "It has not read anything yet."

    def form(self, row: Subscription, data: Any = None) -> ReasonForm:
        return ReplayForm(data)

    def perform(self, row: Subscription, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        position = values["position"]
        subscriptions.replay(name=row.name, position=position, actor=actor, reason=values["reason"])
        return f"{row.name} reads again from {position}."


class SkipToEnd(Operation[Subscription]):
    """For a feed that nobody reads any more: its cursor goes to the end of the log, so that what is old can be deleted.
    A new reader begins there."""

    name, label, permission = "skip-to-end", "Skip to the end", "outbox.operate_subscription"

    def refusal(self, row: Subscription, *, actor: str) -> str:
        if row.name in {each.name for each in registry.subscribers()}:
            return "It is a handler of the store: pause, repair and replay it instead."
        return "Somebody has a token for it." if row.name in feed_tokens.attached_feeds() else ""

    def perform(self, row: Subscription, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        subscriptions.skip_to_end(name=row.name, actor=actor, reason=values["reason"])
        return f"{row.name} stands at the end of the log."


register(
    Subject(
        model=Subscription,
        operations=[Pause(), Resume(), Replay(), SkipToEnd()],
        lock=locking(Subscription),
        # Its position moves all the time and is no reason to ask the person again.
        state=lambda row: "paused" if row.paused else "running",
        facts=lambda row: [("Reads up to", str(row.position))],
    )
)

# --- feed tokens ------------------------------------------------------------------------------------


class Revoke(Operation[FeedToken]):
    """Whoever uses this token can no longer read the feed or report to it, from this moment on."""

    name, label, permission = "revoke", "Revoke", "outbox.manage_feed_tokens"

    def refusal(self, row: FeedToken, *, actor: str) -> str:
        return "" if row.revoked_at is None else "It is revoked."

    def perform(self, row: FeedToken, *, actor: str, token: uuid.UUID, values: dict[str, Any]) -> str:
        feed_tokens.revoke(feed=row.feed, name=row.name, actor=actor, reason=values["reason"])
        return f"{row.name} can no longer use {row.feed}."


register(
    Subject(
        model=FeedToken,
        operations=[Revoke()],
        lock=locking(FeedToken),
        state=lambda row: "live" if row.revoked_at is None else "revoked",
        facts=lambda row: [("Feed", row.feed), ("Whose", row.name)],
    )
)
