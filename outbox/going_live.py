"""Going live: what is right and wrong about our account at a provider, in sentences for whoever opens the store.

An adapter asks the provider and hands on its `Reply`; a questionnaire beside it turns replies into statements; the
command prints them. Nothing here or there changes anything at a provider.
"""

import datetime as dt
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

# A clock this far off is a mistake; signatures of webhooks are refused from five minutes on.
CLOCK_TOLERANCE = dt.timedelta(seconds=30)


class Verdict(enum.StrEnum):
    RIGHT = "right"
    WRONG = "wrong"
    UNASKED = "unasked"  # the provider could not be asked, or did not let us
    NOTE = "note"  # what nobody can verify, or may stay as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One finding: `about` names its subject, `todo` what to do where there is something to do."""

    verdict: Verdict
    about: str
    says: str
    todo: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came of one question. `problem` is empty when it was answered; `status` is HTTP's, None without any."""

    status: int | None
    body: Any = None
    problem: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)  # names in lower case
    sent_at: dt.datetime | None = None
    took: dt.timedelta = dt.timedelta(0)

    @property
    def answered(self) -> bool:
        return self.status == 200 and not self.problem

    @property
    def unauthorized(self) -> bool:
        """The key is no key there."""
        return self.status == 401

    @property
    def forbidden(self) -> bool:
        """The key is good, and not for this."""
        return self.status == 403

    @property
    def unreached(self) -> bool:
        """No answer to the question: the network, the limiter, or the provider's own trouble."""
        return not self.answered and (self.status in (None, 200, 408, 409, 429) or self.status >= 500)


def right(about: str, says: str) -> Statement:
    return Statement(verdict=Verdict.RIGHT, about=about, says=says)


def wrong(about: str, says: str, todo: str) -> Statement:
    return Statement(verdict=Verdict.WRONG, about=about, says=says, todo=todo)


def unasked(about: str, says: str, todo: str) -> Statement:
    return Statement(verdict=Verdict.UNASKED, about=about, says=says, todo=todo)


def note(about: str, says: str, todo: str = "") -> Statement:
    return Statement(verdict=Verdict.NOTE, about=about, says=says, todo=todo)


def clock(reply: Reply, *, provider: str) -> Statement:
    """Our clock against the `Date` of an answer, which is precise to the second."""
    about = "clock"
    try:
        theirs = parsedate_to_datetime(reply.headers["date"])
    except (KeyError, ValueError):
        return unasked(about, f"{provider} did not say what time it is.", "Run this again.")
    if reply.sent_at is None:
        return unasked(about, "The time of the question is not known.", "Run this again.")
    ahead = reply.sent_at + reply.took / 2 - theirs
    seconds = round(ahead.total_seconds())
    if abs(ahead) <= CLOCK_TOLERANCE:
        return right(about, f"Our clock and {provider}'s agree to within {abs(seconds) + 1} s.")
    return wrong(
        about,
        f"Our clock is {abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} {provider}'s.",
        "Let this machine keep its time by NTP: signed webhooks are refused when the clocks differ by five minutes.",
    )


def exit_status(statements: Iterable[Statement]) -> int:
    """0 all is right, 1 something is wrong, 2 something could not be asked."""
    verdicts = {each.verdict for each in statements}
    return 1 if Verdict.WRONG in verdicts else 2 if Verdict.UNASKED in verdicts else 0
