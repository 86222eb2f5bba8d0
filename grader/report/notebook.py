"""The student's own notebook with feedback, as `feedback.ipynb` and as `feedback.html`.

The feedback on a problem is put under the cell that defines it. Nothing is run here. Only the type
and the source of the student's cells are kept: outputs, attachments and metadata can hold scripts
and widgets, and could imitate feedback. In the HTML, Markdown of the student is cleaned of
everything that loads or runs.
"""

import warnings
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from typing import Any

import nbformat
import nh3
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath, import_plugin
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from grader.errors import GraderError
from grader.report.hostile_text import make_legible
from grader.report.pages import render_fragment, render_markdown, render_page
from grader.report.student_view import ProblemView, StudentView

# What the parser and converters of nbformat raise on a file that is not a notebook.
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
# Beyond these sizes a cell is shown as plain text: parsers can need quadratic time.
MAX_MARKDOWN_CHARS = 20_000
MAX_HIGHLIGHTED_CHARS = 100_000
MAX_PARSED_CHARS = 400_000  # of all cells together

_TAGS = set(
    "a blockquote br code del div em h1 h2 h3 h4 h5 h6 hr li ol p pre s span strong table tbody td "
    "th thead tr ul".split()
)
_ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
_SCHEMES = {"http", "https", "mailto"}


class NotebookError(GraderError):
    """A notebook that was accepted when it was handed in cannot be read again."""


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
        number: of the problem among all, starting at 1.
        whole: whether this is the feedback itself; else it says where the feedback is.
    """

    problem: ProblemView
    number: int
    whole: bool


Cell = StudentCell | FeedbackCell


def weave_cells(view: StudentView) -> tuple[Cell, ...]:
    """Return the student's cells, each followed by the feedback on what it defines.

    Feedback on a problem that no cell defines comes last.

    Raises:
        NotebookError: if the notebook cannot be read.
    """
    woven: list[Cell] = []
    student = _read_cells(view.notebook_json)
    problems = list(enumerate(view.problems, start=1))
    for number, cell in enumerate(student, start=1):
        woven.append(cell)
        woven += [
            FeedbackCell(problem=problem, number=index, whole=number == problem.cells[-1])
            for index, problem in problems
            if number in problem.cells
        ]
    woven += [
        FeedbackCell(problem=problem, number=index, whole=True)
        for index, problem in problems
        if not problem.cells or problem.cells[-1] > len(student)
    ]
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


def render_feedback_html(view: StudentView) -> str:
    """Return `feedback.html`: one page that loads nothing and runs no script.

    Raises:
        NotebookError: if the notebook cannot be read.
    """
    cells = weave_cells(view)
    renderer = _CellRenderer(cells)
    exporter = HTMLExporter(
        template_name="basic",
        filters={
            "markdown2html": renderer.render_text,
            "highlight_code": renderer.render_code,
            # Both filters return clean HTML; cleaning it again would remove the feedback's layout.
            "clean_html": lambda html: html,
        },
    )
    notebook = new_notebook(cells=[_numbered(index, cell) for index, cell in enumerate(cells)])
    body, _ = exporter.from_notebook_node(notebook)
    return render_page("feedback.html.j2", view=view, notebook_html=Markup(body))  # noqa: S704 - cleaned


def render_student_markdown(source: str) -> str:
    """Return a student's Markdown as HTML without images, raw HTML, styles or identifiers."""
    plugins = [import_plugin(name) for name in ("strikethrough", "table")]
    html = MarkdownWithMath(renderer=_PlainRenderer(), plugins=plugins).render(source)
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        clean_content_tags=set(),  # the text in a tag that is removed is still shown
    )


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
        warnings.simplefilter("ignore")  # on old minor versions, which are converted
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


class _CellRenderer:
    """Renders cells; the exporter passes only the index of those that are not code."""

    def __init__(self, cells: tuple[Cell, ...]) -> None:
        self._cells = cells
        self._parsed_chars_left = MAX_PARSED_CHARS

    @pass_context
    def render_text(self, context: Context, source: str) -> str:
        """Return the HTML of the cell that the exporter is at."""
        match self._cells[context["cell"]["metadata"]["index"]]:
            case FeedbackCell() as cell:
                name = "feedback_problem" if cell.whole else "feedback_pointer"
                anchor = f"problem-{cell.number}"
                return render_fragment(f"{name}.html.j2", problem=cell.problem, anchor=anchor)
            case StudentCell(kind=CellKind.MARKDOWN) if self._may_parse(source, MAX_MARKDOWN_CHARS):
                return render_student_markdown(source)
            case _:
                return f"<pre>{escape(source)}</pre>"

    def render_code(self, source: str, **_: object) -> str:
        """Return the HTML of a code cell; what else the exporter knows of it is not used."""
        if self._may_parse(source, MAX_HIGHLIGHTED_CHARS):
            return str(highlight(source, PythonLexer(), HtmlFormatter(cssclass="highlight")))
        return f'<div class="highlight"><pre>{escape(source)}</pre></div>'

    def _may_parse(self, source: str, limit: int) -> bool:
        self._parsed_chars_left -= len(source)
        return len(source) <= limit and self._parsed_chars_left >= 0


class _PlainRenderer(IPythonRenderer):  # type: ignore[misc] # nbconvert has no types
    """The renderer of nbconvert without its ways to load files, diagrams and other lexers."""

    def __init__(self) -> None:
        super().__init__(escape=True, exclude_anchor_links=True)

    def block_code(self, code: str, info: str | None = None) -> str:
        """Show a code block as plain text; `info` could choose a lexer or a script."""
        return f"<pre><code>{escape(code)}</code></pre>"

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """Show the description of an image; loading the image would reveal who reads the page."""
        return f"<em>[image: {escape(text)}]</em>"


def _numbered(index: int, cell: Cell) -> Any:  # noqa: ANN401 - nbformat's own node
    match cell:
        case StudentCell(kind=CellKind.CODE):
            return new_code_cell(cell.source, id=f"cell-{index}")
        case _:
            source = cell.source if isinstance(cell, StudentCell) else ""
            return new_markdown_cell(source, metadata={"index": index}, id=f"cell-{index}")
