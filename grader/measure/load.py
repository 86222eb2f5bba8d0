"""What goes into the box when a submission is loaded, or compiled.

Takes: a submission. Gives: `load_request`, `build_request`. Does not cover: sending
it (see `measure.session`).
"""

import base64
from typing import Any

from grader.intake.submission import Submission
from grader.plan.assignment import Assignment
from grader.plan.launcher_header import header_name, write_header


def load_request(submission: Submission, harness: str) -> dict[str, Any]:
    """Return the request that writes a submission's files and imports its entry.

    Args:
        submission: what was handed in, or what a compiler made of it.
        harness: text of the assignment's `harness.py`; empty if there is none.
    """
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
