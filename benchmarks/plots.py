"""Draw what `python -m benchmarks --json` has written, as SVG for docs/performance.md.

    python -m benchmarks.plots docs/performance/numbers.json [--into docs/performance]

A measurement that is missing or was cut short is not drawn.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from math import log10
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks import svg

# Latencies below are the clock's noise: a job may be heard before its publisher knows of the commit.
LEAST = 0.05
PERCENTS = (1, *range(5, 100, 5), 96, 97, 98, 99)
TICKS = (0, 25, 50, 75, 90, 99)


def draw(numbers: dict[str, Any]) -> dict[str, str]:
    """SVG by the name of its file; only of what is there."""
    found = {each["name"]: each for each in numbers["measurements"]}
    drawn = {}
    if rows := _rates(list(found.values())):
        drawn["throughput.svg"] = svg.bars("Throughput, more is better", "a second, logarithmic", rows)
    if latencies := _latencies(list(found.values())):
        drawn["latency.svg"] = svg.lines(
            "From the commit to the handler, idle, lower is better",
            "percentile of all sweeps",
            "ms, logarithmic",
            latencies,
            x_ticks=[(each, str(each)) for each in TICKS],
            ours="the store, doorbell",
        )
    if history := numbers.get("history"):
        sizes = sorted({events for series in history.values() for events, _ in series})
        drawn["history.svg"] = svg.lines(
            "Cost beside a new store, flat is better",
            "events in the log, logarithmic",
            "× the cost in a new store",
            {name: [(log10(events), float(cost)) for events, cost in series] for name, series in history.items()},
            x_ticks=[(log10(each), f"{each:,}") for each in sizes],
            log_y=False,
        )
    return drawn


def _rates(measurements: Sequence[dict[str, Any]]) -> list[svg.Bar]:
    rows = []
    for each in measurements:
        rates = [sweep["rate"] for sweep in each["sweeps"]]
        if rates and all(rates) and not any(sweep["missing"] for sweep in each["sweeps"]):
            name = f"{_label(each)} ({each['items']})"
            rows.append(svg.Bar(name=name, kind=each["kind"], value=median(rates), least=min(rates), most=max(rates)))
    return sorted(rows, key=lambda row: -row.value)


def _latencies(measurements: Sequence[dict[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    series = {}
    for each in measurements:
        values = [value for sweep in each["sweeps"] for value in sweep["latencies"]]
        if each["name"].startswith("latency-") and len(values) > 1:
            hundredths = quantiles(values, n=100, method="inclusive")
            series[_label(each)] = [(float(p), max(LEAST, hundredths[p - 1])) for p in PERCENTS]
    return series


def _label(measurement: dict[str, Any]) -> str:
    names = {
        "read-two": "the store: 2 readers of its log",
        "latency-bell": "the store, doorbell",
        "latency-poll": "the store, polling",
    }
    name: str = measurement["name"]
    return names.get(name, name.removeprefix("peer-").removeprefix("latency-"))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plots", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("numbers", type=Path, metavar="FILE")
    parser.add_argument("--into", type=Path, default=Path("docs/performance"), metavar="FOLDER")
    options = parser.parse_args()
    try:
        drawn = draw(json.loads(options.numbers.read_text()))
        options.into.mkdir(parents=True, exist_ok=True)
        for name, text in drawn.items():
            (options.into / name).write_text(text)
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"Nothing was drawn: {error!r}\n")
        return 2
    sys.stdout.write("".join(f"{options.into / name}\n" for name in drawn))
    return 0


if __name__ == "__main__":
    sys.exit(main())
