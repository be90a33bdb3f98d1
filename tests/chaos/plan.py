"""What goes wrong, and when: all of it decided by the seed before anything starts, so that a seed is a replay."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Seconds from one kill to the next on average: a minute has 52.
KILL_EVERY = 1.15
DATABASE_STOPS = 5
# Seconds between two changes of the weather on average; and of so many changes one is an outage of the bank.
WEATHER_EVERY = 2.0
OUTAGE_ONE_IN = 8
# The share of the calls that fail in ordinary weather: few enough that the breaker seldom opens, for what waits
# behind it meets no faults.
FAILING = {"bank": 0.15, "mail": 0.2, "webhook": 0.4}

# Who is killed, and how much oftener than others: in every run, whatever the seed.
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
WEBHOOKS = ("webhook.stripe", "webhook.sendgrid")
WEBHOOK_FAULTS = ("delay", "duplicate", "duplicate_event", "reorder", "forge", "drop")
# The longest of these is longer than a call's deadline.
SECONDS = (0.5, 2.0, 5.0)


@dataclass(frozen=True, kw_only=True)
class Act:
    """At so many seconds: `kill` somebody, `stop` the database at once, or let the `weather` change: the sandbox's
    `rules` in force from then on (sandbox/faults.py)."""

    at: float
    kind: str
    who: str = ""
    rules: tuple[dict[str, Any], ...] = ()


def plan(*, seed: int, duration: float) -> list[Act]:
    dice = random.Random(seed)  # noqa: S311 - repeatable on purpose
    acts = [*_kills(dice, duration), *_stops(dice, duration), *_weather(dice, duration)]
    return sorted(acts, key=lambda act: act.at)


def _kills(dice: random.Random, duration: float) -> Iterator[Act]:
    deck: list[str] = []
    for number in range(int(duration / KILL_EVERY)):
        if not deck:
            deck = [who for who, times in VICTIMS.items() for _ in range(times)]
            dice.shuffle(deck)
        yield Act(at=(number + dice.random()) * KILL_EVERY, kind="kill", who=deck.pop())


def _stops(dice: random.Random, duration: float) -> Iterator[Act]:
    part = duration / DATABASE_STOPS
    for number in range(DATABASE_STOPS):
        yield Act(at=(number + dice.uniform(0.2, 0.8)) * part, kind="stop", who="database")


def _weather(dice: random.Random, duration: float) -> Iterator[Act]:
    at = 0.5
    while at < duration:
        outage = dice.randrange(OUTAGE_ONE_IN) == 0
        calls = dice.choice(BANK_CALLS)
        bank = _rule(dice, "bank", "down") if outage else _rule(dice, calls, dice.choice(CALL_FAULTS), of="bank")
        mail = _rule(dice, "mail", dice.choice([each for each in CALL_FAULTS if each != "conflict_409"]))
        told = [_rule(dice, op, dice.choice(WEBHOOK_FAULTS), of="webhook") for op in WEBHOOKS]
        yield Act(at=at, kind="weather", rules=(bank, mail, *told))
        at += dice.uniform(0.5, 1.5) * WEATHER_EVERY


def _rule(dice: random.Random, op: str, kind: str, *, of: str = "") -> dict[str, Any]:
    probability = FAILING[of or op] if kind != "down" else 1.0
    return {
        "op": op,
        "kind": kind,
        "probability": probability,
        "seconds": dice.choice(SECONDS),
        "seed": dice.randrange(2**31),
    }
