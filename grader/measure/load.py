"""What goes into the box when a submission is loaded.

Takes: a submission. Gives: `load_request`. Does not cover: sending it (see `measure.session`).
"""

import base64
from typing import Any

from grader.intake.submission import Submission


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
