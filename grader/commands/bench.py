"""`grader bench`: how good the grader's verdicts on speed are; runs from a checkout.

The benchmark lies in `benchmarks/verdicts/`, outside the package: it measures the grader for its
developers and is of no use to a course.
"""

import importlib
import sys
from pathlib import Path

import typer

from grader.errors import UsageError

CHECKOUT = Path(__file__).resolve().parents[2]


def _load() -> typer.Typer:
    """Return the commands of the benchmark.

    Raises:
        UsageError: if this package does not lie in a checkout.
    """
    if not (CHECKOUT / "benchmarks" / "verdicts").is_dir():
        raise UsageError(
            f"`grader bench` runs from a checkout of the project: {CHECKOUT} has no "
            "benchmarks/verdicts/",
            hint="clone the project and run the command there",
        )
    if str(CHECKOUT) not in sys.path:
        sys.path.append(str(CHECKOUT))
    loaded: typer.Typer = importlib.import_module("benchmarks.verdicts.command").command
    return loaded


command = _load()
