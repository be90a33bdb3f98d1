"""How the pipeline looks on a terminal: everything once, or what moves from look to look."""

import datetime as dt
from collections.abc import Sequence

from django.db import Error
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from outbox.pipeline import Depth, Survey, WaitsFor

_COLOURS = {WaitsFor.MACHINE: "yellow", WaitsFor.PARTNER: "yellow", WaitsFor.PERSON: "red"}
_LOG = "log"
_BEHIND = "behind for "


def whole(now: Survey) -> RenderableType:
    """Everything, as one look shows it."""
    return Group(depths(now.depths), "", _beats(now), "", _rates(now), *_warnings(now))


def line(now: Survey | Error) -> str:
    """One line for a log file."""
    if isinstance(now, Error):
        return f"the database does not answer: {str(now).strip()}"
    open_places = ", ".join(f"{each.place} {each.state} {each.count}" for each in now.unsettled)
    return " · ".join(["quiet" if now.quiet else open_places, *now.warnings])


class Trend:
    """Remembers the last look, so that a screen can say what moved since."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], int] = {}
        self._at: dt.datetime | None = None
        self._last: Survey | None = None

    def screen(self, now: Survey | Error, *, at: dt.datetime) -> RenderableType:
        """The look `at` this time. While the database is away the last good one stays, and says how old it is."""
        if isinstance(now, Error):
            since = "" if self._at is None else f"; what follows is of {self._at:%H:%M:%S} UTC"
            trouble = (
                f"[bold red]{at:%H:%M:%S} UTC · the database does not answer[/]: {escape(str(now).strip())}{since}"
            )
            return trouble if self._last is None else Group(trouble, "", *self._tables(self._last, seconds=0.0))
        seconds = 0.0 if self._at is None else (at - self._at).total_seconds()
        head = f"{at:%H:%M:%S} UTC · {'[green]quiet[/]' if now.quiet else '[yellow]working[/]'}"
        shown = Group(head, "", *self._tables(now, seconds=seconds))
        self._counts = {(each.place, each.state): each.count for each in now.depths}
        self._at, self._last = at, now
        return shown

    def _tables(self, now: Survey, *, seconds: float) -> list[RenderableType]:
        people = [each for each in now.depths if each.waits_for is WaitsFor.PERSON and each.count]
        log = [each for each in now.depths if each.place == _LOG]
        others = [each for each in now.depths if each.count and each not in people and each not in log]
        tables: list[RenderableType] = []
        if people:
            tables += [self._table("wait for a person", people, seconds=seconds), ""]
        tables += [self._table("under way", others, seconds=seconds), ""]
        tables += [self._table("readers of the log: events behind", log, seconds=seconds), ""]
        return [*tables, _beats(now), "", _rates(now), *_warnings(now)]

    def _table(self, title: str, rows: Sequence[Depth], *, seconds: float) -> Table:
        table = Table(title=title, title_justify="left", box=None)
        for column in ("what", "count", "a minute", "oldest", "waits for"):
            table.add_column(column, justify="right" if column in ("count", "a minute", "oldest") else "left")
        for each in rows:
            what = each.state.removeprefix(_BEHIND) if each.place == _LOG else f"{each.place}: {each.state}"
            change = self._change(each, seconds=seconds)
            style = _COLOURS.get(each.waits_for, "") if each.count else "dim"
            table.add_row(what, _count(each), change, _optional_age(each.age), each.waits_for, style=style)
        return table

    def _change(self, depth: Depth, *, seconds: float) -> str:
        """How the count grows or shrinks; nothing at the first look."""
        if not seconds:
            return ""
        before = self._counts.get((depth.place, depth.state), 0)
        change = round((depth.count - before) * 60 / seconds)
        return f"{change:+d}" if change else ""


def depths(rows: Sequence[Depth]) -> Table:
    table = Table(box=None)
    for column in ("place", "state", "count", "oldest", "waits for"):
        table.add_column(column, justify="right" if column in ("count", "oldest") else "left")
    for each in rows:
        style = _COLOURS.get(each.waits_for, "") if each.count else "dim"
        table.add_row(each.place, each.state, _count(each), _optional_age(each.age), each.waits_for, style=style)
    return table


def _count(depth: Depth) -> str:
    return f"{depth.count}{'+' if depth.capped else ''}"


def _beats(now: Survey) -> Table:
    """Red is who is late with nobody else doing its work; who died and was replaced is dim."""
    alive = {each.loop for each in now.beats if not each.late}
    table = Table(title="loops", title_justify="left", box=None)
    for column in ("loop", "process", "last beat", "handled", "error"):
        table.add_column(column, justify="right" if column in ("last beat", "handled") else "left")
    for each in now.beats:
        late = "dim" if each.loop in alive else "red"
        style = "red" if each.error else late if each.late else ""
        table.add_row(each.loop, each.process, _age(each.age), str(each.handled), escape(each.error), style=style)
    return table


def _rates(now: Survey) -> str:
    rates = ", ".join(f"{count} {name}" for name, count in now.rates.items()) or "no events"
    return f"in the last minute: {rates}"


def _warnings(now: Survey) -> list[str]:
    return [f"[bold red]![/] {escape(each)}" for each in now.warnings]


def _optional_age(age: dt.timedelta | None) -> str:
    return "" if age is None else _age(age)


def _age(age: dt.timedelta) -> str:
    """12.3 s, 4:05 min, 3:20 h, 5 days."""
    seconds = max(age.total_seconds(), 0.0)
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f}:{seconds % 60:02.0f} min"
    if seconds < 86400:
        return f"{seconds // 3600:.0f}:{seconds % 3600 // 60:02.0f} h"
    return f"{seconds // 86400:.0f} days"
