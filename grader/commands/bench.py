"""`grader bench`: measures how good the grader's verdicts on speed are, from a checkout.

The benchmark is in `benchmarks/verdicts/`, outside the package: only developers need it.
"""

import importlib
import sys
from pathlib import Path

import typer

from grader.errors import UsageError

CHECKOUT = Path(__file__).resolve().parents[2]


def _load() -> typer.Typer:
    """Return the commands of the benchmark; a `UsageError` outside of a checkout."""
    if not (CHECKOUT / "benchmarks" / "verdicts").is_dir():
        raise UsageError(
            f"`grader bench` needs a checkout of the project, but {CHECKOUT} has no "
            "benchmarks/verdicts/",
            hint="clone the project and run the command there",
        )
    if str(CHECKOUT) not in sys.path:
        sys.path.append(str(CHECKOUT))
    loaded: typer.Typer = importlib.import_module("benchmarks.verdicts.command").command
    return loaded


command = _load()
