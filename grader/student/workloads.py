"""The workloads of performance targets as students get them: calls with recipes instead of values.

`release.record_public` publishes them as `public/_performance.json`: what each target asks at every
size, with shapes, dtypes and how to draw the numbers. `recorded_steps` makes a workload of them
again, without the secret seed and without the author's generator.
"""

import json
import math
import random
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cattrs
import torch

from grader.assignment.public_cases import PUBLIC_FOLDER
from grader.assignment.steps import (
    Drop,
    PhaseEnd,
    PhaseStart,
    ReclaimArguments,
    Request,
    Value,
    WorkloadStep,
    WorkloadSteps,
    World,
)
from grader.assignment.target import Quantity
from grader.errors import AuthorError
from grader.runner.protocol import Json
from grader.runner.tensors import DTYPES, NAMES
from grader.strict import json_converter
from grader.student.tensors import with_strides
from grader.student.trace import (
    map_arguments,
    map_values,
    play,
    step_from_json,
    step_to_json,
)

PERFORMANCE_FILE = "_performance.json"
SMALL = 64
"""Whole numbers in a list or tensor that are published as they are."""

_CONVERTER = json_converter()
_PLAIN: dict[str, WorkloadStep] = {
    "phase_start": PhaseStart(),
    "phase_end": PhaseEnd(),
    "reclaim": ReclaimArguments(),
}
_RECIPE = "made "


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRun:
    """The calls of a target at one size.

    Attributes:
        steps: (how often in a row, JSON form of the step).
        bytes_moved, traffic_bytes: that the author counts; 0 for none.
        derivation: how `traffic_bytes` is derived.
    """

    size: int
    steps: tuple[tuple[int, str], ...]
    bytes_moved: int = 0
    traffic_bytes: int = 0
    derivation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedTarget:
    """What is published of a target; `description` says what is done, and the formula."""

    problem: str
    target: str
    quantity: Quantity
    ranks: int
    description: str
    runs: tuple[PublishedRun, ...]


def dump_targets(targets: tuple[PublishedTarget, ...]) -> str:
    """Return the text of `_performance.json`, one group of steps a line."""
    text = json.dumps([asdict(one) for one in targets], separators=(",", ":"))
    return text.replace('{"size":', '\n{"size":').replace('{"problem":', '\n{"problem":') + "\n"


def load_targets(assignment: Path) -> tuple[PublishedTarget, ...]:
    """Return the published targets of an assignment; none if it publishes none.

    Raises:
        AuthorError: if the file is damaged.
    """
    path = assignment / PUBLIC_FOLDER / PERFORMANCE_FILE
    if not path.is_file():
        return ()
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        return _CONVERTER.structure(tree, tuple[PublishedTarget, ...])
    except (OSError, ValueError, RecursionError, cattrs.BaseValidationError) as error:
        hint = "install the assignment again, or make the file again with `grader release`"
        raise AuthorError(f"{path}: damaged: {error}", hint=hint) from error


def publish(step: WorkloadStep) -> str:
    """Return the JSON form of a step without the values of its large arguments."""
    for name, plain in _PLAIN.items():
        if step == plain:
            return json.dumps(name)
    assert isinstance(step, Request | World | Drop)
    return json.dumps(step_to_json(map_values(map_arguments(step, _shorten), _recipe)))


def _shorten(value: Value) -> Value:
    """Return a value whose long lists of whole numbers are recipes."""
    match value:
        case list() if len(value) > SMALL and all(type(one) is int for one in value):
            return _numbers(value, {"list": len(value)}) or value
        case list() | tuple():
            return type(value)(_shorten(one) for one in value)
        case dict():
            return {key: _shorten(one) for key, one in value.items()}
    return value


def _numbers(values: list[int], form: dict[str, Json]) -> str:
    """Return the recipe of whole numbers; empty if they matter as they are.

    Numbers that are 0 to n-1 in any order are a permutation. Numbers that repeat are drawn anew in
    their range, the same for the same numbers. Others name something, such as blocks.
    """
    seed = zlib.crc32(repr(values).encode())
    if sorted(values) == list(range(len(values))):
        return _RECIPE + json.dumps({**form, "seed": seed, "of": "permutation"})
    if len(set(values)) == len(values):
        return ""
    drawn = {"of": "integers", "low": min(values), "high": max(values)}
    return _RECIPE + json.dumps({**form, "seed": seed, **drawn})


def _recipe(leaf: Value) -> Value:
    if not isinstance(leaf, torch.Tensor):
        return leaf
    contiguous = leaf.is_contiguous() or not leaf.numel()
    form: dict[str, Json] = {
        "dtype": NAMES[leaf.dtype],
        "shape": list(leaf.shape),
        "strides": None if contiguous else list(leaf.stride()),
    }
    if leaf.dtype.is_floating_point:
        low, high = (float(leaf.min()), float(leaf.max())) if leaf.numel() else (0.0, 0.0)
        kind = "uniform" if low >= 0 and high <= 1 else "normal"
        return _RECIPE + json.dumps({**form, "seed": 0, "of": kind})
    values = [int(one) for one in leaf.reshape(-1)]
    recipe = "" if len(values) <= SMALL else _numbers(values, form)
    return recipe or _RECIPE + json.dumps({**form, "of": "values", "values": values})


def make(leaf: Value) -> Value:
    """Return what a recipe describes, and anything else as it is."""
    if not isinstance(leaf, str) or not leaf.startswith(_RECIPE):
        return leaf
    form = json.loads(leaf.removeprefix(_RECIPE))
    if "list" in form:
        return _drawn(form, form["list"])
    shape, dtype = form["shape"], DTYPES[form["dtype"]]
    if form["of"] in ("normal", "uniform"):
        generator = torch.Generator().manual_seed(form["seed"])
        draw = torch.rand if form["of"] == "uniform" else torch.randn
        made = draw(shape, generator=generator).to(dtype)
    else:
        count = math.prod(shape)
        values = form["values"] if form["of"] == "values" else _drawn(form, count)
        made = torch.tensor(values, dtype=dtype).reshape(shape)
    return made if form["strides"] is None else with_strides(made, tuple(form["strides"]))


def _drawn(form: dict[str, Json], count: int) -> list[int]:
    source = random.Random(form["seed"])  # noqa: S311 - no secret
    if form["of"] == "permutation":
        return source.sample(range(count), count)
    return [source.randint(form["low"], form["high"]) for _ in range(count)]


def recorded_steps(run: PublishedRun) -> WorkloadSteps:
    """Return the steps of a run as a workload; all arguments exist before the first is yielded."""
    steps: list[Any] = []  # `play` passes on the steps of workloads, too
    for count, text in run.steps:
        steps += [_read(json.loads(text))] * count
    return play(tuple(steps))


def _read(tree: Json) -> WorkloadStep:
    return _PLAIN[tree] if isinstance(tree, str) else map_values(step_from_json(tree), make)
