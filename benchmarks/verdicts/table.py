"""Prints the result of the benchmark of verdicts as tables on a console."""

import math
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.verdicts.bounds import Bound, Resolution
from benchmarks.verdicts.ending import Verdict
from benchmarks.verdicts.patterns import PASS_AT
from benchmarks.verdicts.replay import Tally
from benchmarks.verdicts.result import Result
from grader.performance.decide.sequential_test import ERROR_RATE


def print_result(result: Result, console: Console) -> None:
    """Print cells, resolutions and bounds."""
    console.print(_cells([cell.tally for cell in result.cells]))
    console.print(_resolutions(result.resolutions))
    console.print(_bounds(result.bounds))
    console.print(
        f"Whole chunks of forks spread {result.wider:.2f} times as wide as their forks predict. "
        f"Sandbox: {result.sandbox}. Load average at the begin: {result.machine.load_1min:.1f} on "
        f"{result.machine.cores} processors.",
        markup=False,
    )
    if result.quick:
        console.print("A quick run proves nothing.", style="bold")


def _cells(tallies: Sequence[Tally]) -> Table:
    table = Table(
        *("neighbour", "pattern", "of target", "pool ratio", "pass", "within noise", "fail"),
        *("ungraded", "wrong", "missed", "forks"),
        title="verdicts on replayed series, in per cent",
        caption="of target: ratio of the work to the target; pool ratio: the same, measured over "
        "all forks, ± its standard error; within noise: passes, the interval contains the target "
        "within the reference's noise; wrong: against the pool ratio; missed: the interval does "
        "not contain the pool ratio",
    )
    order = sorted(
        tallies,
        key=lambda t: (t.cell.neighbour, t.cell.slowness.pattern, t.cell.slowness.factor),
    )
    for tally in order:
        slowness, pooled = tally.cell.slowness, tally.pooled
        of_target = math.exp(pooled.log_ratio) / PASS_AT
        table.add_row(
            tally.cell.neighbour.value,
            "same as reference" if tally.cell.is_same else slowness.pattern.value,
            f"{slowness.factor:.2f}",
            f"{of_target:.4f} ± {pooled.error:.4f}",
            *(_percent(tally.count(verdict), tally) for verdict in Verdict),
            _percent(tally.wrong, tally),
            _percent(tally.missed, tally),
            f"{tally.mean_forks:.1f}",
        )
    return table


def _percent(count: int, tally: Tally) -> str:
    return f"{100 * count / tally.series:.2f}"


def _resolutions(resolutions: Sequence[Resolution]) -> Table:
    table = Table(
        "neighbour", "pattern", "from", title=f"passes at most {ERROR_RATE:.0%} of the time"
    )
    for one in resolutions:
        least = f"{one.factor:.2f} × the target" if one.factor else "not at any distance tried"
        table.add_row(one.neighbour.value, one.pattern.value, least)
    return table


def _bounds(bounds: Sequence[Bound]) -> Table:
    table = Table("required", "found", "allowed", "where", "", title="bounds")
    for bound in bounds:
        table.add_row(
            bound.name,
            f"{bound.found:.4g}",
            f"{bound.allowed:.4g}",
            bound.where,
            "holds" if bound.holds else "[red]DOES NOT HOLD[/]",
        )
    return table
