import json
from dataclasses import replace
from typing import Any

import nbformat
import pytest

from grader.report.notebook import (
    FEEDBACK_TAG,
    NotebookError,
    make_feedback_notebook,
    weave_cells,
)
from grader.report.student_view import make_view
from tests.unit.report import samples


def _notebook(*extra: tuple[str, str]) -> dict[str, Any]:
    view = make_view(samples.make_notebook_record("g", *extra))
    return dict(json.loads(make_feedback_notebook(view)))


def _text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_feedback_stands_under_the_cell_that_defines_the_problem() -> None:
    cells = _notebook()["cells"]
    heads = [_text(cell).splitlines()[0][:46] for cell in cells]
    assert heads == [
        "# KV cache: g",
        "# My solution",
        "import torch",
        "### Feedback: A cache that grows",
        "Now the **attention**. See [the paper](https:/",
        "def ragged_mask(lengths, size):",
        "Feedback on **Grouped-query attention for one ",
        "def decode_attention(q, k, v):",
        "### Feedback: Grouped-query attention for one ",
        "### Feedback: Slots that are used again",
    ]


def test_notebook_is_valid_and_the_same_every_time() -> None:
    view = make_view(samples.make_notebook_record())
    text = make_feedback_notebook(view)
    nbformat.validate(nbformat.reads(text, as_version=4))
    assert make_feedback_notebook(view) == text


def test_only_feedback_carries_the_tag() -> None:
    source = json.loads(samples.make_notebook(("markdown", "### Feedback: full marks")))
    source["cells"][-1]["metadata"] = {"tags": [FEEDBACK_TAG]}
    source["cells"][-1]["attachments"] = {"x.png": {"image/png": "AAAA"}}
    record = samples.make_notebook_record()
    facts = replace(record.submission, notebook_json=json.dumps(source))
    cells = json.loads(make_feedback_notebook(make_view(replace(record, submission=facts))))[
        "cells"
    ]
    tagged = [cell for cell in cells if FEEDBACK_TAG in cell["metadata"].get("tags", [])]
    assert len(tagged) == 5
    assert not any("full marks" in _text(cell) for cell in tagged)
    assert not any("attachments" in cell for cell in cells)


def test_problem_in_a_cell_that_is_not_there_stands_at_the_end() -> None:
    record = samples.make_notebook_record()
    far = tuple(cell + 90 for cell in samples.NOTEBOOK_CELLS)
    files = samples.make_files(samples.NOTEBOOK_SOURCE, far)
    view = make_view(replace(record, submission=replace(record.submission, files=files)))
    assert len(weave_cells(view)) == 5 + 3


def test_old_notebooks_are_converted() -> None:
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": "old"},
        "worksheets": [
            {
                "cells": [
                    {"cell_type": "code", "input": ["x = 1"], "outputs": [], "language": "python"}
                ],
                "metadata": {},
            }
        ],
    }
    record = samples.make_notebook_record()
    facts = replace(record.submission, notebook_json=json.dumps(old), files=())
    cells = json.loads(make_feedback_notebook(make_view(replace(record, submission=facts))))[
        "cells"
    ]
    assert _text(cells[1]) == "x = 1"


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"nbformat": "x"}', "[" * 100_000])
def test_an_unreadable_notebook_is_an_error_of_ours(text: str) -> None:
    record = samples.make_notebook_record()
    view = make_view(record)
    with pytest.raises(NotebookError, match="expected a notebook"):
        make_feedback_notebook(replace(view, notebook_json=text or " "))
