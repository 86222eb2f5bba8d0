"""The student's notebook with feedback: `feedback.ipynb` and `feedback.html`."""

import json
import time
from dataclasses import replace
from typing import Any

import nbformat
import pytest

from grader.report.notebook import (
    FEEDBACK_TAG,
    MAX_MARKDOWN_CHARS,
    NotebookError,
    make_feedback_notebook,
    render_feedback_html,
    render_student_markdown,
    weave_cells,
)
from grader.report.student_view import make_view
from tests.unit.report import samples
from tests.unit.report.planting import Page


def _notebook(*extra: tuple[str, str]) -> dict[str, Any]:
    view = make_view(samples.make_notebook_record("g", *extra))
    return dict(json.loads(make_feedback_notebook(view)))


def _text(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_feedback_is_under_the_cell_that_defines_the_problem() -> None:
    cells = _notebook()["cells"]
    heads = [_text(cell).splitlines()[0][:46] for cell in cells]
    assert heads == [
        "# KV cache: g",
        "# My solution",
        "import torch",
        "### Feedback: KVCache: A cache that grows",
        "Now the **attention**. See [the paper](https:/",
        "def ragged_mask(lengths, size):",
        "Feedback on **decode\\_attention: Grouped-query",
        "def decode_attention(q, k, v):",
        "### Feedback: decode\\_attention: Grouped-query",
        "### Feedback: SlotCache: Slots that are used a",
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


def test_problem_in_a_cell_that_is_not_there_comes_last() -> None:
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
def test_an_unreadable_notebook_is_a_grader_error(text: str) -> None:
    record = samples.make_notebook_record()
    view = make_view(record)
    with pytest.raises(NotebookError, match="expected a notebook"):
        make_feedback_notebook(replace(view, notebook_json=text or " "))


HOSTILE_CELLS = (
    ("markdown", "<script>alert(1)</script>\n\n<iframe src='https://example.org'></iframe>"),
    ("markdown", "![pixel](https://example.org/p.png) ![a](attachment:nothing.png)"),
    ("markdown", "[x](javascript:alert(1)) [y](data:text/html,x) [z](file:///etc/passwd)"),
    ("markdown", "```mermaid\n<img src=x onerror=alert(1)>\n```"),
    ("markdown", "<div class='card feedback' id='problem-1' style='color:red'>forged</div>"),
    ("markdown", "$</p><script>alert(2)</script>$ \\begin{x}<script>\\end{x}"),
    ("raw", "<script>alert(3)</script>"),
    ("code", "%%javascript\nalert('</pre><script>alert(4)</script>')"),
    ("code", "%%html\n<img src=x onerror=alert(5)>"),
)


def _page(*extra: tuple[str, str]) -> Page:
    return Page(render_feedback_html(make_view(samples.make_notebook_record("grace", *extra))))


def test_page_shows_cells_and_feedback() -> None:
    page = _page()
    assert "self.k = torch.cat([self.k, k], dim=2)" in page.text
    assert "The cache holds $K$ and $V$" in page.text
    assert page.text.count("hidden cases 1 and 3") == 2
    assert page.text.count("What your code printed (2 lines)") == 1
    assert "https://example.org/gqa" in page.values("href")


def test_page_is_self_contained_under_a_strict_policy() -> None:
    page = _page()
    assert page.scripts == []
    assert not {"script", "link", "img", "iframe"} & page.tags
    assert page.values("style") == page.values("src") == []
    assert "script-src" not in page.policy
    assert len(page.styles) == 1


def test_hostile_cells_stay_text() -> None:
    page = _page(*HOSTILE_CELLS)
    assert not {"script", "img", "iframe", "object", "embed", "form", "base"} & page.tags
    assert page.values("style") == page.values("src") == page.values("onerror") == []
    assert all(link.startswith(("#", "https://")) for link in page.values("href") if link)
    assert page.values("id").count("problem-1") == 1
    assert page.values("class").count("card feedback") == 3
    for number in (1, 3, 4):
        assert f"alert({number})" in page.text


def test_images_become_their_description() -> None:
    html = render_student_markdown("![a <b>plot</b>](https://example.org/p.png)")
    assert "example.org" not in html
    assert "[image: a" in html


def test_a_link_does_not_tell_where_it_was_followed() -> None:
    html = render_student_markdown("[paper](https://example.org/p) [other](javascript:alert(1))")
    assert 'href="https://example.org/p" rel="noopener noreferrer"' in html
    assert "javascript" not in html


@pytest.mark.parametrize(
    "unit", ["[", "![", "`a", "*a ", "<a ", "$", "> ", "|a", "[a](", "\\begin{a}"]
)
def test_markdown_of_the_largest_size_is_rendered_in_time(unit: str) -> None:
    start_s = time.process_time()
    render_student_markdown((unit * MAX_MARKDOWN_CHARS)[:MAX_MARKDOWN_CHARS])
    assert time.process_time() - start_s < 10.0


def test_many_large_cells_are_shown_without_parsing() -> None:
    cells = [("markdown", "*" * MAX_MARKDOWN_CHARS)] * 30 + [("code", "x = (" * 30_000)] * 3
    start_s = time.process_time()
    page = _page(*cells)
    assert time.process_time() - start_s < 20.0
    assert page.text.count("x = (") >= 90_000
