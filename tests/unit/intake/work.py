"""Builders of what students hand in: notebooks, zips, and the way through both halves of intake."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grader.intake import (
    Attachment,
    Rejected,
    Requirements,
    Submission,
    SubmissionSource,
    load_submission,
)
from grader.intake.submission import NO_REQUIREMENTS

SLUG = "kv_cache"
GOOD = "def append(x):\n    return x\n"


def code(source: Any, *tags: str, **metadata: Any) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": "a",
        "metadata": {**({"tags": list(tags)} if tags else {}), **metadata},
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def prose(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": "b", "metadata": {}, "source": source}


def notebook(cells: Sequence[Any], **top: Any) -> bytes:
    form = {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5, **top}
    return json.dumps(form).encode()


def zipped(files: Mapping[str, bytes | str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def take(
    path: Path, requirements: Requirements = NO_REQUIREMENTS, *, cuda: bool = False
) -> Submission | Rejected:
    source = SubmissionSource(name="a", parts=(Attachment(path=path),))
    return load_submission(source, slug=SLUG, cuda=cuda, requirements=requirements)


def accept(path: Path, requirements: Requirements = NO_REQUIREMENTS) -> Submission:
    submission = take(path, requirements)
    assert isinstance(submission, Submission), submission
    return submission


def reject(path: Path) -> Rejected:
    submission = take(path)
    assert isinstance(submission, Rejected), submission
    assert submission.hint
    assert "expected" in submission.message
    assert "found" in submission.message
    return submission
