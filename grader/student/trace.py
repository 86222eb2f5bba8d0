"""Public cases as recorded steps: what is called in which order, and which results are expected.

`release.record_public` records them from the cases and the reference; `play` turns a recording back
into a case that `correctness.drive` can run. A recording is a plain list of steps: it cannot choose
its next step by a reply, but a reply, or a part of one, can be an argument of a later step.

The JSON form in `public/<Problem>.json` pickles nothing. It is that of `runner.protocol` with two
leaves more: `t` holds a tensor (dtype, shape, strides in elements, base64 of its entries in
row-major order, little-endian), and `p` a part of an earlier reply (number of the step, then the
path to the part).
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from grader.assignment.public_cases import SCHEMA_VERSION, read_public
from grader.assignment.steps import (
    Call,
    CaseSteps,
    Drop,
    Each,
    Expect,
    New,
    On,
    OverwriteArguments,
    Raises,
    Ref,
    Request,
    Step,
    Value,
    World,
)
from grader.evidence.comparison import brief
from grader.evidence.faults import Fault, FaultKind, Stopped
from grader.runner.protocol import Json, ProtocolError, flatten, unflatten
from grader.runner.tensors import DTYPES, NAMES
from grader.student.tensors import decode_tensor, encode_tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyPart:
    """A reply of an earlier step of the same case, or an element of it.

    Attributes:
        step: number of the step, from 0.
        path: indices and keys that lead to the part; empty for the whole reply.
    """

    step: int
    path: tuple[int | str, ...] = ()


Recording = tuple[Step, ...]
"""One case; a `ReplyPart` stands for a reply, and no expected value is a function."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedCheck:
    """The public cases of one check; `description` is their docstring, as students read it."""

    name: str
    title: str
    description: str
    instances: tuple[Recording, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedProblem:
    """The public cases of one problem, as one file."""

    problem: str
    checks: tuple[TracedCheck, ...]


class NoSuchPart:
    """Used for a part that a student's reply does not have; equal to nothing."""

    def __init__(self, part: ReplyPart, reply: Value) -> None:
        self._path = "".join(f"[{key!r}]" for key in part.path)
        self._reply = reply

    def __repr__(self) -> str:
        """Return what is missing, as the student reads it."""
        return f"nothing at {self._path} of {brief(self._reply)}"


def play(recording: Recording) -> CaseSteps:
    """Return recorded steps as a case."""
    replies: list[Value] = []
    for step in recording:
        replies.append((yield _resolve(step, replies)))


def map_leaves(value: Value, change: Callable[[Value], Value]) -> Value:
    """Return `value` with all that is in its lists, tuples and dicts passed through `change`."""
    match value:
        case tuple():  # of a named tuple, too: its class takes its fields one by one
            return tuple(map_leaves(item, change) for item in value)
        case list():
            return [map_leaves(item, change) for item in value]
        case dict():
            return {key: map_leaves(item, change) for key, item in value.items()}
        case _:
            return change(value)


def map_values(step: Step, change: Callable[[Value], Value]) -> Step:
    """Return `step` with all that is in its arguments passed through `change`."""
    return map_arguments(step, lambda value: map_leaves(value, change))


def map_arguments(step: Step, change: Callable[[Value], Value]) -> Step:
    """Return `step` with `change((args, kwargs))` in place of the arguments of each request."""
    match step:
        case New() | Call():
            return _mapped(step, change)
        case Each():
            return Each(*(_mapped(one, change) for one in step.steps))
        case On():
            return On(step.rank, _mapped(step.step, change))
        case Raises():
            inner = map_arguments(step.step, change)
            assert isinstance(inner, Request)
            return Raises(inner, step.error, step.label)
        case _:
            return step


def _mapped(step: New | Call, change: Callable[[Value], Value]) -> New | Call:
    args, kwargs = change((step.args, step.kwargs))
    if isinstance(step, New):
        return New(step.name, *args, **kwargs)
    method = [step.method] if isinstance(step.target, Ref) else []
    return Call(step.target, *method, *args, **kwargs)


def load_problem(assignment: Path, problem: str) -> TracedProblem:
    """Read the public cases of `problem` from the folder of an assignment.

    Raises:
        AuthorError: if there are none, or the file is damaged.
    """
    return read_public(
        assignment,
        problem,
        lambda tree: TracedProblem(
            problem=tree["problem"], checks=tuple(map(_check, tree["checks"]))
        ),
    )


def dump_problem(traced: TracedProblem) -> str:
    """Return the text that `load_problem` reads, one step a line; equal steps give equal text."""
    tree = {
        "schema_version": SCHEMA_VERSION,
        "problem": traced.problem,
        "checks": [
            {
                "name": check.name,
                "title": check.title,
                "description": check.description,
                "instances": [[step_to_json(step) for step in one] for one in check.instances],
            }
            for check in traced.checks
        ],
    }
    text = json.dumps(tree, separators=(",", ":"), ensure_ascii=True)
    # Quotes inside strings are escaped, so this can only be the start of a step or a check.
    return text.replace('{"op":', '\n{"op":').replace('{"name":', '\n{"name":') + "\n"


def _resolve(step: Step, replies: Sequence[Value]) -> Step:
    if not isinstance(step, Expect):
        return map_values(step, partial(_filled, replies=replies))
    want = map_leaves(step.want, partial(_filled, replies=replies))
    return replace(step, got=_part(step.got, replies), want=want)


def _filled(leaf: Value, replies: Sequence[Value]) -> Value:
    """Return a part of an argument, which may be a part of an earlier reply."""
    if not isinstance(leaf, ReplyPart):
        return leaf
    part = _part(leaf, replies)
    if isinstance(part, NoSuchPart):
        raise Stopped(Fault(kind=FaultKind.BAD_REPLY, message=repr(part)))
    return part


def _part(part: ReplyPart, replies: Sequence[Value]) -> Value:
    value = replies[part.step]
    for key in part.path:
        is_item = isinstance(value, list | tuple) and isinstance(key, int) and key < len(value)
        if not is_item and not (isinstance(value, dict) and key in value):
            return NoSuchPart(part, replies[part.step])
        value = value[key]
    return value


def _check(tree: Json) -> TracedCheck:
    instances = tuple(tuple(map(step_from_json, one)) for one in tree["instances"])
    return TracedCheck(
        name=tree["name"],
        title=tree["title"],
        description=tree["description"],
        instances=instances,
    )


def step_to_json(step: Step) -> Json:
    """Return the JSON form of a step."""
    match step:
        case New():
            return {"op": "new", "class": step.name, **_arguments_to_json(step)}
        case Call():
            target, method = to_json(step.target), step.method
            return {"op": "call", "target": target, "method": method, **_arguments_to_json(step)}
        case World():
            return {"op": "world", "size": step.size}
        case Each():
            return {"op": "each", "steps": [step_to_json(one) for one in step.steps]}
        case On():
            return {"op": "on", "rank": step.rank, "step": step_to_json(step.step)}
        case Drop():
            return {"op": "drop", "ref": to_json(step.ref)}
        case OverwriteArguments():
            return {"op": "overwrite_arguments"}
        case Raises():
            inner = step_to_json(step.step)
            return {"op": "raises", "error": step.error, "label": step.label, "step": inner}
        case Expect():
            return {
                "op": "expect",
                "label": step.label,
                "exact": step.exact,
                "per_row": step.per_row,
                **({"rounded_once": to_json(step.rounded_once)} if step.rounded_once else {}),
                **({"parts": list(step.parts)} if step.parts else {}),
                "got": to_json(step.got),
                "want": to_json(step.want),
            }


def _arguments_to_json(step: New | Call) -> dict[str, Json]:
    kwargs = {key: to_json(value) for key, value in step.kwargs.items()}
    return {"args": [to_json(value) for value in step.args], "kwargs": kwargs}


def step_from_json(tree: Json) -> Step:
    """Return the step with JSON form `tree`.

    Raises:
        ProtocolError: if `tree` is not of this form.
    """
    match tree["op"]:
        case "drop":
            return Drop(from_json(tree["ref"]))
        case "world":
            return World(int(tree["size"]))
        case "overwrite_arguments":
            return OverwriteArguments()
        case "raises":
            inner = step_from_json(tree["step"])
            if not isinstance(inner, Request):
                raise ProtocolError(f"no request: {tree['step']['op']!r}")
            return Raises(inner, tree["error"], tree["label"])
        case "expect":
            got, want = from_json(tree["got"]), from_json(tree["want"])
            return Expect(
                got,
                want,
                label=tree["label"],
                exact=tree["exact"],
                per_row=tree["per_row"],
                rounded_once=from_json(tree.get("rounded_once")),
                parts=tuple(tree.get("parts", ())),
            )
        case "each":
            return Each(*map(one_from_json, tree["steps"]))
        case "on":
            return On(int(tree["rank"]), one_from_json(tree["step"]))
        case _:
            return one_from_json(tree)


def one_from_json(tree: Json) -> New | Call:
    """Return the step with JSON form `tree`; it is for one rank, or for a worker without ranks.

    Raises:
        ProtocolError: if `tree` is not of this form.
    """
    args = [from_json(value) for value in tree["args"]]
    kwargs = {key: from_json(value) for key, value in tree["kwargs"].items()}
    if tree["op"] == "new":
        return New(tree["class"], *args, **kwargs)
    if tree["op"] != "call":
        raise ProtocolError(f"unknown kind of step: {tree['op']!r}")
    target = from_json(tree["target"])
    method = [tree["method"]] if isinstance(target, Ref) else []
    return Call(target, *method, *args, **kwargs)


def to_json(value: Value) -> Json:
    """Return the JSON form of `value`.

    Raises:
        TypeError: if it contains something that a case cannot pass on.
    """
    return flatten(value, _encode)


def from_json(tree: Json) -> Value:
    """Return the value whose JSON form is `tree`.

    Raises:
        ProtocolError: if `tree` is not of this form.
    """
    return unflatten(tree, _decode)


def _encode(leaf: Value) -> Json:
    match leaf:
        case torch.Tensor():
            return {"t": encode_tensor(leaf)}
        case Ref():
            return {"r": leaf.id}
        case ReplyPart():
            return {"p": [leaf.step, *leaf.path]}
        case torch.dtype() if leaf in NAMES:
            return {"y": NAMES[leaf]}
        case _:
            raise TypeError(f"a {type(leaf).__name__} cannot be recorded")


def _decode(key: str, content: Json) -> Value:
    if key == "t":
        return decode_tensor(content)
    if key == "r" and isinstance(content, int):
        return Ref(content)
    if key == "p" and isinstance(content, list):
        return ReplyPart(step=int(content[0]), path=tuple(content[1:]))
    if key == "y" and content in DTYPES:
        return DTYPES[content]
    raise ProtocolError(f"unknown form of value: {key!r}")
