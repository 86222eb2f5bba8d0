"""The student's own notebook with feedback under the cells that define something graded.

Takes: a `StudentView` of a notebook. Gives: the text of `feedback.ipynb`, and its cells for
`notebook_page`. Does not cover: running it; nothing here does.

Only the type and the source of a student's cells are kept: outputs, attachments and metadata can
carry scripts and widgets, and could imitate feedback.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

from grader.errors import GraderError
from grader.report.hostile_text import make_legible
from grader.report.templates import render_markdown
from grader.report.view import ProblemView, StudentView

# What nbformat's parser and converters raise on a notebook that is none.
_UNREADABLE = (
    nbformat.ValidationError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
)
FEEDBACK_TAG = "grader-feedback"
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class NotebookError(GraderError):
    """A notebook that intake took in cannot be read again."""


class CellKind(StrEnum):
    """What a cell holds."""

    CODE = "code"
    MARKDOWN = "markdown"
    RAW = "raw"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentCell:
    """One cell of the student's notebook: its kind and its text."""

    kind: CellKind
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackCell:
    """Feedback on a problem.

    Attributes:
        problem: what the feedback is on.
        number: place of the problem among all, starting at 1.
        whole: whether the feedback itself stands here, not a word on where it stands.
    """

    problem: ProblemView
    number: int
    whole: bool


Cell = StudentCell | FeedbackCell


def weave_cells(view: StudentView) -> tuple[Cell, ...]:
    """Return the student's cells, each followed by the feedback on what it defines.

    Feedback on a problem that no cell defines stands at the end.

    Raises:
        NotebookError: if the notebook cannot be read.
    """
    woven: list[Cell] = []
    student = _read_cells(view.notebook_json)
    for number, cell in enumerate(student, start=1):
        woven.append(cell)
        woven.extend(_feedback_below(view, number))
    for place, problem in enumerate(view.problems, start=1):
        if not problem.cells or problem.cells[-1] > len(student):
            woven.append(FeedbackCell(problem=problem, number=place, whole=True))
    return tuple(woven)


def make_feedback_notebook(view: StudentView) -> str:
    """Return `feedback.ipynb`.

    Raises:
        NotebookError: if the notebook cannot be read.
    """
    summary = new_markdown_cell(render_markdown("feedback_summary.md.j2", view=view))
    cells = [summary, *(_new_cell(cell) for cell in weave_cells(view))]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # random identifiers would make equal reports differ
    cells[0]["metadata"]["tags"] = [FEEDBACK_TAG]
    notebook = new_notebook(cells=cells, metadata=_METADATA)
    return str(nbformat.writes(notebook, version=4)) + "\n"


def _feedback_below(view: StudentView, number: int) -> Iterator[FeedbackCell]:
    for place, problem in enumerate(view.problems, start=1):
        if number in problem.cells:
            whole = number == problem.cells[-1]
            yield FeedbackCell(problem=problem, number=place, whole=whole)


def _new_cell(cell: Cell) -> Any:  # noqa: ANN401 - nbformat's own node
    match cell:
        case StudentCell(kind=CellKind.CODE):
            return new_code_cell(cell.source)
        case StudentCell(kind=CellKind.RAW):
            return new_raw_cell(cell.source)
        case StudentCell():
            return new_markdown_cell(cell.source)
        case FeedbackCell():
            template = "feedback_problem.md.j2" if cell.whole else "feedback_pointer.md.j2"
            text = render_markdown(template, problem=cell.problem)
            return new_markdown_cell(text, metadata={"tags": [FEEDBACK_TAG]})


def _read_cells(text: str) -> list[StudentCell]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about old minor versions, which are converted
        try:
            notebook = nbformat.reads(text, as_version=4)
        except _UNREADABLE as error:
            raise NotebookError(f"expected a notebook, found {type(error).__name__}") from error
    kinds = {kind.value: kind for kind in CellKind}
    return [
        StudentCell(
            kind=kinds.get(cell.get("cell_type", ""), CellKind.RAW),
            source=make_legible(str(cell.get("source", ""))),
        )
        for cell in notebook.get("cells", [])
    ]
