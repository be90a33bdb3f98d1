"""Charts as SVG: bars and lines over a logarithmic axis, readable on a light and on a dark ground."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 900, 330, 90, 62, 46
BAR, GAP, PLOT = 18, 8, 320
LINE = 16
# Those of lines; further ones are dashed.
COLOURS = 7
LEGEND = "green: the store · violet: PostgreSQL itself · blue: other queues"
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600; font-size: 15px }
.grid { stroke: #8c959f; stroke-opacity: .35 }
.spread { stroke: #24292f; stroke-width: 1.5 }
polyline, path { fill: none } polyline { stroke-width: 2 } polyline.ours { stroke-width: 3.5 }
rect.ours { fill: #1a7f37 } rect.limit { fill: #8250df } rect.peer { fill: #0969da }
polyline.ours, path.ours { stroke: #1a7f37 }
.c1 { stroke: #0969da } .c2 { stroke: #bc4c00 } .c3 { stroke: #8250df } .c4 { stroke: #bf3989 } .c5 { stroke: #9a6700 }
.c6 { stroke: #57606a } .c7 { stroke: #1b7c83 } .again { stroke-dasharray: 7 4 }
.ground { fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .spread { stroke: #e6edf3 } .ground { fill: #0d1117 }
rect.ours { fill: #3fb950 } rect.limit { fill: #a371f7 } rect.peer { fill: #4493f8 }
polyline.ours, path.ours { stroke: #3fb950 }
.c1 { stroke: #58a6ff } .c2 { stroke: #f0883e } .c3 { stroke: #bc8cff } .c4 { stroke: #f778ba } .c5 { stroke: #d29922 }
.c6 { stroke: #9198a1 } .c7 { stroke: #39c5cf }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """`kind` is ours, limit or peer."""

    name: str
    kind: str
    value: float
    least: float
    most: float


def bars(title: str, unit: str, rows: Sequence[Bar]) -> str:
    """Horizontal ones, each with its spread; longest first is the caller's choice. Raises ValueError for none."""
    scale = _Scale([each.least for each in rows], [each.most for each in rows], LEFT, WIDTH - RIGHT)
    height = TOP + len(rows) * (BAR + GAP) + BOTTOM
    parts = [_x_grid(scale, TOP - 4, height - BOTTOM + 4)]
    for number, each in enumerate(rows):
        y = TOP + number * (BAR + GAP)
        least, middle, most = (scale.at(value) for value in (each.least, each.value, each.most))
        parts += [
            _text(LEFT - 10, y + BAR - 4, each.name, anchor="end"),
            f'<rect class="{each.kind}" x="{LEFT}" y="{y}" width="{middle - LEFT:.1f}" height="{BAR}" rx="2"/>',
            f'<path class="spread" d="M{least:.1f} {y + BAR / 2}H{most:.1f}"/>',
            _text(max(most, middle) + 6, y + BAR - 4, f"{each.value:,.0f}"),
        ]
    parts.append(_text(20, TOP - 18, LEGEND))
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, height - 8, unit, anchor="middle"))
    return _document(title, height, parts)


def lines(
    title: str,
    x_name: str,
    y_name: str,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_ticks: Sequence[tuple[float, str]],
    log_y: bool = True,
    ours: str = "",
) -> str:
    """One line for each series over x from the first tick to the last. Raises ValueError for no points."""
    points = [point for each in series.values() for point in each]
    height = TOP + PLOT + BOTTOM
    left, right = 70, WIDTH - 190
    y = _Scale([p[1] for p in points], [p[1] for p in points], height - BOTTOM, TOP, log=log_y)
    x = _Scale([x_ticks[0][0]], [x_ticks[-1][0]], left, right, log=False, exact=True)
    parts = []
    for value in y.ticks():
        parts += [
            f'<path class="grid" d="M{left} {y.at(value):.1f}H{right}"/>',
            _text(left - 8, y.at(value) + 4, _short(value), anchor="end"),
        ]
    for value, name in x_ticks:
        parts += [
            f'<path class="grid" d="M{x.at(value):.1f} {TOP}V{height - BOTTOM}"/>',
            _text(x.at(value), height - BOTTOM + 17, name, anchor="middle"),
        ]
    ends = _apart([(y.at(each[-1][1]), name) for name, each in series.items()], height - BOTTOM)
    for number, (name, each) in enumerate(series.items(), 1):
        kind = "ours" if name == ours else f"c{(number - 1) % COLOURS + 1}{' again' * (number > COLOURS)}"
        path = " ".join(f"{x.at(a):.1f},{y.at(b):.1f}" for a, b in each)
        to_y = ends[name]
        parts += [
            f'<polyline class="{kind}" points="{path}"/>',
            f'<path class="{kind}" d="M{path.split()[-1]}L{right + 14} {to_y:.1f}"/>',
            _text(right + 18, to_y + 4, name),
        ]
    parts.append(_text(left - 50, TOP - 14, y_name))
    parts.append(_text((left + right) / 2, height - 8, x_name, anchor="middle"))
    return _document(title, height, parts)


class _Scale:
    """From values to coordinates; `exact` has no room beyond the ends."""

    def __init__(
        self,
        least: Sequence[float],
        most: Sequence[float],
        start: float,
        end: float,
        *,
        log: bool = True,
        exact: bool = False,
    ) -> None:
        low, high = min(least), max(most)
        self._log = log
        if log:
            self._low: float = math.floor(math.log10(low))
            self._high: float = max(math.ceil(math.log10(high)), self._low + 1)
        else:
            self._low, self._high = (low, high) if exact else (0.0, high * 1.1)
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        part = ((math.log10(value) if self._log else value) - self._low) / (self._high - self._low or 1)
        return self._start + part * (self._end - self._start)

    def ticks(self) -> list[float]:
        if self._log:
            return [10.0**power for power in range(math.ceil(self._low), math.floor(self._high) + 1)]
        step = 10 ** math.floor(math.log10(self._high)) / 2
        return [step * each for each in range(int(self._high / step) + 1)]


def _x_grid(scale: _Scale, top: float, bottom: float) -> str:
    return "".join(
        f'<path class="grid" d="M{scale.at(value):.1f} {top}V{bottom}"/>'
        + _text(scale.at(value), bottom + 16, _short(value), anchor="middle")
        for value in scale.ticks()
    )


def _apart(wanted: list[tuple[float, str]], lowest: float) -> dict[str, float]:
    """Where labels go so that none lies on another or below `lowest`: in their order, at least a line apart."""
    placed: list[float] = []
    for at, _ in sorted(wanted):
        placed.append(max(at, placed[-1] + LINE) if placed else at)
    limits = [lowest - LINE * below for below in range(len(placed))][::-1]
    return {name: min(at, limit) for (_, name), at, limit in zip(sorted(wanted), placed, limits, strict=True)}


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def _text(x: float, y: float, what: str, *, anchor: str = "start", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{kind}>{escape(what)}</text>'


def _document(title: str, height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    heading = _text(20, 22, title, kind=' class="title"')
    body = "\n".join(
        [
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            '<rect class="ground" width="100%" height="100%"/>',
            heading,
            *parts,
        ]
    )
    return f"{head}\n{body}\n</svg>\n"
