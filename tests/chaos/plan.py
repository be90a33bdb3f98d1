"""What goes wrong, and when: all of it decided by the seed before anything starts, so that a seed is a replay."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

# Seconds between two kills on average: a minute has at least fifty.
KILL_EVERY = 0.95
DATABASE_STOPS = 5
FAULT_EVERY = 1.2

# Who is killed, and how much oftener than others.
VICTIMS = {
    "payments": 4,
    "outbox": 4,
    "messages": 3,
    "web worker": 3,
    "warehouse": 2,
    "web": 1,
    "scheduler": 1,
    "sandbox": 1,
}
BANK_CALLS = ("payment_intents.*", "payment_intents.create", "payment_intents.confirm", "refunds.create", "bank")
CALL_FAULTS = (
    *("delay", "delay_answer", "refuse", "drop_before", "drop_after", "reset", "error_500_before", "error_500_after"),
    *("slow_drip", "cut_body", "malformed_body", "rate_limit", "conflict_409"),
)
WEBHOOK_FAULTS = ("delay", "duplicate", "duplicate_event", "reorder", "forge", "drop")
# The longest of these is longer than a call's deadline.
SECONDS = (0.5, 2.0, 5.0)


@dataclass(frozen=True, kw_only=True)
class Act:
    """At so many seconds: `kill` somebody, `stop` the database at once, or add a `fault`."""

    at: float
    kind: str
    who: str = ""
    rule: dict[str, Any] = field(default_factory=dict)


def plan(*, seed: int, duration: float) -> list[Act]:
    dice = random.Random(seed)  # noqa: S311 - repeatable on purpose
    acts = [*_kills(dice, duration), *_stops(dice, duration), *_faults(dice, duration)]
    return sorted(acts, key=lambda act: act.at)


def _kills(dice: random.Random, duration: float) -> Iterator[Act]:
    at = 1.0
    while at < duration:
        yield Act(at=at, kind="kill", who=dice.choices(list(VICTIMS), weights=list(VICTIMS.values()))[0])
        at += dice.uniform(0.5, 1.5) * KILL_EVERY


def _stops(dice: random.Random, duration: float) -> Iterator[Act]:
    part = duration / DATABASE_STOPS
    for number in range(DATABASE_STOPS):
        yield Act(at=(number + dice.uniform(0.2, 0.8)) * part, kind="stop", who="database")


def _faults(dice: random.Random, duration: float) -> Iterator[Act]:
    at = 0.5
    while at < duration:
        yield Act(at=at, kind="fault", rule=_rule(dice))
        at += dice.uniform(0.5, 1.5) * FAULT_EVERY


def _rule(dice: random.Random) -> dict[str, Any]:
    where = dice.choices(("bank", "mail", "webhook"), weights=(5, 2, 2))[0]
    seconds = dice.choice(SECONDS)
    if where == "webhook":
        op, kind = dice.choice(("webhook.stripe", "webhook.sendgrid")), dice.choice(WEBHOOK_FAULTS)
    else:
        op = dice.choice(BANK_CALLS) if where == "bank" else "mail"
        kind = dice.choice([each for each in CALL_FAULTS if where == "bank" or each != "conflict_409"])
    return {"op": op, "kind": kind, "times": dice.randint(1, 6), "seconds": seconds, "seed": dice.randrange(2**31)}
