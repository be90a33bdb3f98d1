"""What the sweeps have found, as tables for people and as JSON for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.flat import TURNS, Flat
from benchmarks.measurements import Measurement, Result

# Figures below it are shown with two decimals.
FINE = 20

Sweeps = Mapping[str, Sequence[Result]]


def show(console: Console, measured: Sequence[Measurement], sweeps: Sweeps) -> None:
    rates = Table(box=None, pad_edge=False)
    times = Table(box=None, pad_edge=False)
    rates.add_column("measurement", overflow="fold")
    times.add_column("measurement", overflow="fold")
    missing = Table(box=None, pad_edge=False)
    missing.add_column("missing", no_wrap=True)
    missing.add_column("why", overflow="fold")
    for heading in ("a second", "min–max", "of its limit", "× peer", "µs client", "µs server"):
        rates.add_column(heading, justify="right", no_wrap=True)
    for heading in ("p50 ms", "min–max", "p99 ms", "min–max", "× peer"):
        times.add_column(heading, justify="right", no_wrap=True)
    for each in measured:
        results = sweeps[each.name]
        finished = all(result.measured.finished for result in results)
        if why := next((result.missing for result in results if result.missing), ""):
            missing.add_row(each.name, escape(f"missing: {why}"))
        elif finished and any(result.latencies for result in results):
            halves, worst = _known([r.quantile(50) for r in results]), _known([r.quantile(99) for r in results])
            row = [f"{median(halves):.1f}", _span(halves, ".1f"), f"{median(worst):.1f}", _span(worst, ".1f")]
            row.append(_middle(_times_peer(each, sweeps), ".1f"))
            times.add_row(f"{each.name}: {each.what}", *row)
        else:
            rates.add_row(f"{each.name}: {each.what}", *_row(each, sweeps))
    for table in (rates, times, missing):
        if table.row_count:
            console.print(table, "")
    for each in measured:
        if any(result.notes for result in sweeps[each.name]):
            console.print(f"{each.name}: {each.what}", markup=False)
            console.print(_noted(sweeps[each.name]), "")


def _noted(results: Sequence[Result]) -> Table:
    """The measurement's own figures, each the median of the sweeps that have it."""
    table = Table(box=None, pad_edge=False, show_header=False)
    names = dict.fromkeys(name for result in results for name in result.notes)
    for name in names:
        values = _known([result.notes.get(name) for result in results])
        form = ",.2f" if max(values) < FINE else ",.0f"
        table.add_row(f"  {name}", f"{median(values):{form}}", _span(values, form))
    return table


def show_history(console: Console, history: Flat) -> None:
    """What each step costs beside a new store's: processors' time, the clock's and blocks."""
    table = Table(box=None, pad_edge=False)
    for heading in ("a history of", "step", "× processors", "× clock", "× blocks", "new, ms", "here, ms"):
        table.add_column(heading, justify="left" if heading in ("a history of", "step") else "right")
    for state in history.states:
        for number, (step, here) in enumerate(state.here.items()):
            new, above = state.new[step], state.ratio(step) > state.limit
            table.add_row(
                "" if number else f"{state.events:,} events, {state.name}",
                step,
                f"{state.ratio(step):.2f}",
                f"{here.seconds / new.seconds:.2f}",
                f"{here.blocks / new.blocks:.2f}",
                f"{new.cpu * 1000:.2f}",
                f"{here.cpu * 1000:.2f}",
                style="red" if above else "",
            )
    console.print(table, "")
    before, after = history.memory
    console.print(f"memory of a worker: {before:.1f} MB after {TURNS[0]} turns, {after:.1f} MB after {TURNS[1]}")


def _row(each: Measurement, sweeps: Sweeps) -> list[str]:
    results = sweeps[each.name]
    rates = _known([result.rate for result in results])
    unfinished = sum(not result.measured.finished for result in results)
    if unfinished:
        # A median of the runs that were fast enough would be a better number than the truth.
        return [f"not finished in {unfinished} of {len(results)}", *[""] * 5]
    ratios = _ratios(each, sweeps)
    client = _known([result.measured.client_cpu / result.measured.items * 1e6 for result in results])
    server = _known([_server_share(result) for result in results])
    return [
        f"{median(rates):,.0f} {each.items}",
        _span(rates, ",.0f"),
        _middle(ratios, ".2f"),
        _middle(_times_peer(each, sweeps), ".1f"),
        f"{median(client):,.0f}",
        f"{median(server):,.0f}" if server else "",
    ]


def _ratios(each: Measurement, sweeps: Sweeps) -> list[float]:
    """Each sweep's by itself: what disturbed the machine then, disturbed both."""
    pairs = zip(sweeps[each.name], sweeps.get(each.limit, ()), strict=False)
    return [ours.rate / limit.rate for ours, limit in pairs if ours.rate and limit.rate]


def _times_peer(each: Measurement, sweeps: Sweeps) -> list[float]:
    """How many times faster the store was than this peer, or sooner by its median: each sweep's by itself."""
    pairs = list(zip(sweeps.get(each.ours, ()), sweeps[each.name], strict=False))
    faster = [ours.rate / peer.rate for ours, peer in pairs if ours.rate and peer.rate]
    halves = [(ours.quantile(50), peer.quantile(50)) for ours, peer in pairs]
    return faster or [peer / ours for ours, peer in halves if ours and peer]


def _middle(values: Sequence[float], form: str) -> str:
    return f"{median(values):{form}}" if values else ""


def _server_share(result: Result) -> float | None:
    used = result.measured.server_cpu
    return None if used is None else used / result.measured.items * 1e6


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _span(values: Sequence[float], form: str) -> str:
    return f"{min(values):{form}}–{max(values):{form}}"


def as_json(measured: Sequence[Measurement], sweeps: Sweeps, **about: Any) -> dict[str, Any]:
    """Every sweep's own numbers: seconds, items, and milliseconds where they were taken."""
    return {
        **about,
        "measurements": [
            {
                "name": each.name,
                "what": each.what,
                "items": each.items,
                "kind": each.kind,
                "limit": each.limit or None,
                "ours": each.ours or None,
                "sweeps": [
                    {
                        **{name: value for name, value in asdict(result.measured).items() if name != "notes"},
                        "rate": result.rate,
                        "took": result.took,
                        "latencies": list(result.latencies),
                        "notes": result.notes,
                        "missing": result.missing or None,
                    }
                    for result in sweeps[each.name]
                ],
            }
            for each in measured
        ],
    }
