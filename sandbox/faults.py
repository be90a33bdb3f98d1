"""Faults on demand: rules that say which call fails, how, and how often."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import count
from typing import Any


class Kind(StrEnum):
    """What goes wrong. "Before" and "after" are seen from the effect and its ledger line."""

    DELAY = "delay"  # the call takes `seconds`; its idempotency key is in use meanwhile
    DELAY_ANSWER = "delay_answer"  # the effect is made at once, the answer comes `seconds` later
    REFUSE = "refuse"  # the connection is closed before the call is read
    DROP_BEFORE = "drop_before"  # the call is read, nothing is done, the connection closes
    DROP_AFTER = "drop_after"  # done and in the ledger, then the connection closes without an answer
    RESET = "reset"  # as drop_after, but with a TCP reset
    ERROR_500_BEFORE = "error_500_before"  # nothing is done; the 500 is saved under the key
    ERROR_500_AFTER = "error_500_after"  # done; the 500 is what the key replays
    SLOW_DRIP = "slow_drip"  # the answer arrives byte by byte, over `seconds`
    CUT_BODY = "cut_body"  # half of the answer, then the connection closes
    MALFORMED_BODY = "malformed_body"  # a complete answer that is not JSON
    RATE_LIMIT = "rate_limit"  # 429, not executed
    CONFLICT_409 = "conflict_409"  # 409 as if the key were in use, not executed
    DOWN = "down"  # nobody listens: connections are refused until the rule is removed
    DUPLICATE = "duplicate"  # webhook: the same event twice
    DUPLICATE_EVENT = "duplicate_event"  # webhook: two event objects for one change
    REORDER = "reorder"  # webhook: held back until the next one has gone, or for `seconds`
    FORGE = "forge"  # webhook: a wrongly signed one goes ahead of the true one
    DROP = "drop"  # webhook: never sent


SERVER_KINDS = frozenset({Kind.DOWN})
WEBHOOK_KINDS = frozenset({Kind.DELAY, Kind.DUPLICATE, Kind.DUPLICATE_EVENT, Kind.REORDER, Kind.FORGE, Kind.DROP})
CALL_KINDS = frozenset(Kind) - SERVER_KINDS - (WEBHOOK_KINDS - {Kind.DELAY})
WEBHOOK_OPS = ("webhook.stripe", "webhook.sendgrid")


class FaultRuleError(ValueError):
    """The rule makes no sense; the message says why."""


@dataclass(slots=True, kw_only=True)
class Rule:
    """One fault. It fires for a call whose op matches, until it has fired `times` times.

    `op` is an operation's name, a pattern such as `refunds.*`, `bank`, `mail`, `*`, or `webhook.…`; `match`
    is a text that must occur in the call's path or body; `probability` is decided by an own generator with
    `seed`.
    """

    id: int
    op: str
    kind: Kind
    times: int | None = None
    probability: float = 1.0
    seed: int = 0
    seconds: float = 1.0
    match: str = ""
    fired: int = 0
    _random: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - repeatable on purpose

    def matches(self, *, group: str, op: str, text: str) -> bool:
        if op in WEBHOOK_OPS:
            named = self.op.startswith("webhook") and fnmatchcase(op, self.op)
        else:
            named = self.op == group or fnmatchcase(op, self.op)
        return named and self.match in text

    def fires(self) -> bool:
        """Decide, and count, whether this matching call fails."""
        if self.times is not None and self.fired >= self.times:
            return False
        if self._random.random() >= self.probability:
            return False
        self.fired += 1
        return True

    @property
    def spent(self) -> bool:
        return self.times is not None and self.fired >= self.times

    def as_json(self) -> dict[str, Any]:
        names = ("id", "op", "kind", "times", "probability", "seed", "seconds", "match", "fired")
        return {name: getattr(self, name) for name in names}


class Faults:
    """The rules in force."""

    def __init__(self) -> None:
        self._rules: dict[int, Rule] = {}
        self._ids = count(1)

    def rules(self) -> list[Rule]:
        return list(self._rules.values())

    def down(self) -> bool:
        return any(rule.kind is Kind.DOWN for rule in self._rules.values())

    def add(self, values: Mapping[str, Any]) -> Rule:
        """Add one rule given as JSON. Raises FaultRuleError."""
        rule = _read(values, rule_id=next(self._ids))
        self._rules[rule.id] = rule
        return rule

    def remove(self, rule_id: int) -> bool:
        return self._rules.pop(rule_id, None) is not None

    def clear(self) -> None:
        self._rules.clear()

    def take(self, *, group: str, op: str, text: str = "") -> Rule | None:
        """Return the first rule that fires for this call. A spent rule stays listed, but fires no more."""
        kinds = WEBHOOK_KINDS if op in WEBHOOK_OPS else CALL_KINDS
        for rule in self._rules.values():
            if rule.kind in kinds and rule.matches(group=group, op=op, text=text) and rule.fires():
                return rule
        return None


def _read(values: Mapping[str, Any], *, rule_id: int) -> Rule:
    unknown = set(values) - {"op", "kind", "times", "probability", "seed", "seconds", "match"}
    if unknown:
        raise FaultRuleError(f"unknown field: {', '.join(sorted(unknown))}")
    try:
        times = values.get("times")
        rule = Rule(
            id=rule_id,
            op=str(values.get("op") or "*"),
            kind=Kind(str(values.get("kind"))),
            times=None if times is None else int(times),
            probability=float(values.get("probability", 1.0)),
            seed=int(values.get("seed", 0)),
            seconds=float(values.get("seconds", 1.0)),
            match=str(values.get("match", "")),
        )
    except (TypeError, ValueError) as error:
        raise FaultRuleError(str(error)) from None
    if rule.times is not None and rule.times < 1:
        raise FaultRuleError("times must be at least 1, or null for always")
    if not 0 <= rule.probability <= 1 or not 0 <= rule.seconds <= 3600:
        raise FaultRuleError("probability is from 0 to 1, seconds from 0 to 3600")
    fitting = WEBHOOK_KINDS if rule.op.startswith("webhook") else CALL_KINDS | SERVER_KINDS
    if rule.kind not in fitting:
        raise FaultRuleError(f"{rule.kind} does not fit {rule.op}: choose one of {', '.join(sorted(fitting))}")
    return rule
