"""Requests to a box as JSON: a submission to import or compile, an object to make, a call.

Takes: steps of a case. Gives: the form of `runner.protocol`, tensors apart. Does not cover: sending
it (see `worker.channel`), nor the tensors' memory (see `worker.buffers`).
"""

import base64
from collections.abc import Sequence
from typing import Any

import torch

from grader.assignment.steps import Call, New, Ref, Value
from grader.errors import AuthorError
from grader.intake.submission import SourceFile, Submission
from grader.runner import protocol
from grader.runner.tensors import NAMES


def location_of(submission: Submission, frames: Any) -> str:  # noqa: ANN401 - what the box claims
    """Return the innermost frame that lies in the submission's own files, or an empty text."""
    if not isinstance(frames, list):
        return ""
    files = {file.name: file for file in submission.files}
    for frame in reversed(frames):
        if not isinstance(frame, list) or len(frame) != 3:
            continue
        name, line, _ = frame
        file = files.get(name) if isinstance(name, str) else None
        if file is None or type(line) is not int:
            continue
        if not 1 <= line <= file.text.count("\n") + 1:
            continue  # a number that the box made up could carry hidden inputs out
        if line <= len(file.cell_lines):
            origin = file.cell_lines[line - 1]
            return f"cell {origin.cell}, line {origin.line}"
        return f"{file.name}, line {line}"
    return ""


Json = Any  # a message's fields


def load_request(submission: Submission, harness: Sequence[SourceFile]) -> dict[str, Json]:
    """Return the request to import a submission, after the harness if there is one."""
    files = [{"name": file.name, "text": file.text} for file in (*submission.files, *harness)]
    binaries = [
        {"name": file.name, "base64": base64.b64encode(file.content).decode()}
        for file in submission.binaries
    ]
    return {
        "op": "load",
        "files": files,
        "binaries": binaries,
        "harness": bool(harness),
        "entry": submission.entry,
    }


def new_request(number: int, step: New) -> dict[str, Json]:
    """Return the request to make an object and remember it as `number`, arguments left out."""
    return {"op": "new", "ref": number, "name": step.name}


def call_request(first_ref: int, step: Call) -> dict[str, Json]:
    """Return the request to call, arguments left out; objects are numbered from `first_ref`."""
    target = first_ref + step.target.id if isinstance(step.target, Ref) else step.target
    return {"op": "call", "target": target, "method": step.method}


def arguments_of(first_ref: int, step: New | Call) -> tuple[dict[str, Json], list[torch.Tensor]]:
    """Return a step's arguments, and the tensors among them in the order of their numbers.

    Raises:
        AuthorError: if one cannot travel.
    """
    tensors: list[torch.Tensor] = []

    def leaf(value: Value) -> Json:
        if isinstance(value, torch.Tensor):
            tensors.append(value.detach())
            return {"t": len(tensors) - 1}
        if isinstance(value, Ref):
            return {"r": first_ref + value.id}
        if isinstance(value, torch.dtype):
            return {"y": NAMES[value]}
        raise AuthorError(f"a case passes a {type(value).__name__}, which cannot travel")

    args = [protocol.flatten(value, leaf) for value in step.args]
    kwargs = {key: protocol.flatten(value, leaf) for key, value in step.kwargs.items()}
    return {"args": args, "kwargs": kwargs}, tensors
