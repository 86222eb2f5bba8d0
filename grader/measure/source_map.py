"""Places in the box back to places in what the student handed in.

Takes: frames that the box claims. Gives: "cell 3, line 2" or "kv_cache.py, line 41". Does not
cover: the text of the exception.
"""

from typing import Any

from grader.intake.submission import Submission


def place_of(submission: Submission, frames: Any) -> str:  # noqa: ANN401 - what the box claims
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
