"""One configuration after the other, each with its share of the time, and what is printed about them."""

import contextlib
import gc
import time
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from outbox.crash_points import POINTS, watching
from tests.schedules.configuration import Configuration
from tests.schedules.configurations import CONFIGURATIONS
from tests.schedules.execution import stop_at
from tests.schedules.explorer import Explorer, Found, Judges, Violation
from tests.schedules.holes import HOLES
from tests.schedules.judging import Quiet, always
from tests.schedules.stage import Stage

COLUMNS = ("configuration", "actors", "executions", "states", "ends", "longest", "searched", "violations", "seconds")
LEFT = ("configuration", "actors", "searched")
# Characters, where nobody sits before a terminal.
WIDTH = 180


class Unknown(LookupError):
    """There is no such configuration or safeguard; the message says which there are."""


def run(*, names: Sequence[str], seconds: float, schedule: Sequence[str] | None, without: str | None) -> int:
    """Explore the named configurations (none: all), or play one schedule; the exit status. Raises Unknown."""
    chosen = [_named(name) for name in names] or list(CONFIGURATIONS.values())
    if without is not None and without not in HOLES:
        raise Unknown(f"no safeguard {without}; there are {', '.join(HOLES)}")
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    table = Table(box=None, pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in LEFT else "right", overflow="fold")
    violated = False
    deadline = time.monotonic() + seconds
    stage = Stage()
    with stage.set_up(), Console(stderr=True).status("…") as status:
        for number, configuration in enumerate(chosen):
            # The first are the smallest, and can be exhausted: they may take half as much again.
            share = 1.5 * (deadline - time.monotonic()) / (len(chosen) - number + 0.5)
            status.update(f"{configuration.name}: {configuration.about}; at most {share:.0f} s")
            found = _explore(stage, configuration, seconds=share, schedule=schedule, without=without)
            table.add_row(*_cells(configuration, found, replayed=schedule is not None))
            for violation in found.violations:
                for line in _lines(configuration, violation, without):
                    console.print(line, markup=False, soft_wrap=True)
            violated |= bool(found.violations)
    console.print(table)
    return int(violated)


def _named(name: str) -> Configuration:
    if name not in CONFIGURATIONS:
        raise Unknown(f"no configuration {name}; there are {', '.join(CONFIGURATIONS)}")
    return CONFIGURATIONS[name]


def _explore(
    stage: Stage, configuration: Configuration, *, seconds: float, schedule: Sequence[str] | None, without: str | None
) -> Found:
    stage.prepare(configuration.scene)
    with contextlib.ExitStack() as stack:
        if without is not None:
            stack.enter_context(HOLES[without]())
        stack.enter_context(watching(stop_at))
        explorer = Explorer(stage, configuration, Judges(always=always, quiet=Quiet()))
        gc.freeze()  # all that is loaded by now stays: no need to look through it again and again
        return explorer.explore(seconds=seconds) if schedule is None else explorer.replay(tuple(schedule))


def _cells(configuration: Configuration, found: Found, *, replayed: bool) -> list[str]:
    names = [part.name for part in configuration.parts]
    faults = [("kill", configuration.kills), ("time-out", configuration.time_outs)]
    names += [f"{count} {fault}" for fault, count in faults if count]
    if replayed:
        searched = "replayed"
    elif found.violations:
        searched = "stopped at violations"
    elif found.exhausted:
        searched = "exhausted"
    else:
        searched = f"all with fewer than {found.switches} switches; {found.left} edges left"
    numbers = (found.executions, found.states, found.ends, found.longest)
    violations, seconds = str(len(found.violations)), f"{found.seconds:.1f}"
    return [configuration.name, ", ".join(names), *map(str, numbers), searched, violations, seconds]


def _lines(configuration: Configuration, violation: Violation, without: str | None) -> Iterable[str]:
    yield f"Violated in {configuration.name} ({configuration.about}):"
    for line in violation.what:
        yield f"  {line}"
    for step in violation.steps:
        point = POINTS.get(step.led_to)
        yield f"  {step.choice:32} → {step.led_to}{f': {point.what}' if point else ''}"
    hole = f" --without {without}" if without else ""
    schedule = ",".join(violation.schedule)
    yield f"  Again: python -m tests.schedules --config {configuration.name}{hole} --replay '{schedule}'"
