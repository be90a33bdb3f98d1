"""What a configuration says: who acts, from which state, and what may go wrong how often."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.schedules.stage import Rows, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An actor's part. `may_begin` looks at what is committed; `twin_of` names one with the very same part, who
    begins first: what is left out is the same with the two names exchanged."""

    name: str
    play: Callable[[Stage], None]
    may_begin: Callable[[Stage, Rows], bool] = lambda stage, rows: True
    twin_of: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """`kills` and `time_outs` are how many of them there may be in one execution. At the points in `passed` nobody
    stops: what lies between two others happens at once."""

    name: str
    about: str
    scene: Callable[[Stage], None]
    parts: Sequence[Part]
    kills: int = 0
    time_outs: int = 0
    passed: frozenset[str] = frozenset()
