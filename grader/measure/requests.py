"""Requests to a box as JSON: a submission to import or compile, an object to make, a call.

Takes: steps of a case. Gives: the form of `runner.wire`, tensors apart. Does not cover: sending it
(see `measure.channel`), nor the tensors' memory (see `measure.buffers`).
"""

import base64
from typing import Any

import torch

from grader.author.steps import Call, New, Ref, Value
from grader.errors import AuthorError
from grader.intake.submission import Submission
from grader.plan.assignment import Assignment
from grader.plan.launcher_header import header_name, write_header
from grader.runner import wire
from grader.runner.tensors import NAMES

Json = Any  # a message's fields


def load_request(submission: Submission, harness: str) -> dict[str, Json]:
    """Return the request to import a submission, after the harness if there is one."""
    files = [{"name": file.name, "text": file.text} for file in submission.files]
    if harness:
        files.append({"name": "harness.py", "text": harness})
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


def build_request(
    submission: Submission, assignment: Assignment, architectures: tuple[str, ...]
) -> dict[str, Any]:
    """Return the request that has a submission in CUDA C++ compiled, see `runner.nvcc`.

    Args:
        submission: what was handed in.
        assignment: whose header is included before the first line.
        architectures: such as `sm_90a`.
    """
    slug = assignment.slug
    header = {"name": header_name(slug), "text": write_header(slug, assignment.launchers)}
    return {
        "op": "build",
        "files": [{"name": file.name, "text": file.text} for file in submission.files],
        "header": header,
        "entry": f"{submission.entry}.cu",
        "architectures": list(architectures),
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

    args = [wire.flatten(value, leaf) for value in step.args]
    kwargs = {key: wire.flatten(value, leaf) for key, value in step.kwargs.items()}
    return {"args": args, "kwargs": kwargs}, tensors
