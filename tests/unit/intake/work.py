"""Builders of what students hand in: notebooks, zips, and the way through both halves of intake."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grader.intake import Handed, Part, Rejected, Submission, take_in

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


def take(path: Path) -> Submission | Rejected:
    return take_in(Handed(name="a", parts=(Part(path=path),)), slug=SLUG)


def accept(path: Path) -> Submission:
    taken = take(path)
    assert isinstance(taken, Submission), taken
    return taken


def reject(path: Path) -> Rejected:
    taken = take(path)
    assert isinstance(taken, Rejected), taken
    assert taken.hint
    assert "expected" in taken.message
    assert "found" in taken.message
    return taken
