"""The notebook with feedback as a page of its own.

Takes: a `StudentView` of a notebook. Gives: the text of `feedback.html`. Does not cover: the cells
and their order (see `notebook`).

nbconvert's own full pages fetch scripts; its `basic` template gives the cells alone, which our page
then frames. The student's Markdown is hostile: raw HTML in it is shown as text, images become
their descriptions, and what is left is cleaned once more.
"""

from html import escape
from typing import Any

import nh3
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath, import_plugin
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from grader.report.notebook import Cell, CellKind, FeedbackCell, StudentCell, weave_cells
from grader.report.templates import render_fragment, render_page
from grader.report.view import StudentView

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
_PLUGINS = ("strikethrough", "table")


def render_feedback_html(view: StudentView) -> str:
    """Return `feedback.html`: nothing fetched, no script.

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
            # Both filters return clean HTML; the second pass would strip feedback of its layout.
            "clean_html": _keep,
        },
    )
    notebook = new_notebook(cells=[_placed(place, cell) for place, cell in enumerate(cells)])
    body, _ = exporter.from_notebook_node(notebook)
    return render_page("feedback.html.j2", view=view, notebook_html=Markup(body))  # noqa: S704 - cleaned


class _CellRenderer:
    """Renders cells; the exporter knows those that are not code only by their place."""

    def __init__(self, cells: tuple[Cell, ...]) -> None:
        self._cells = cells
        self._parsed_chars_left = MAX_PARSED_CHARS

    @pass_context
    def render_text(self, context: Context, source: str) -> str:
        """Return the HTML of the cell that the exporter is at."""
        match self._cells[context["cell"]["metadata"]["place"]]:
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


def render_student_markdown(source: str) -> str:
    """Return a student's Markdown as HTML without images, raw HTML, styles or identifiers."""
    html = MarkdownWithMath(renderer=_PlainRenderer(), plugins=_load_plugins()).render(source)
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes=_SCHEMES,
        clean_content_tags=set(),  # what stands in a tag that is taken away is shown as text
    )


class _PlainRenderer(IPythonRenderer):  # type: ignore[misc] # nbconvert has no types
    """nbconvert's renderer without its ways to bring in files, diagrams and other lexers."""

    def __init__(self) -> None:
        super().__init__(escape=True, exclude_anchor_links=True)

    def block_code(self, code: str, info: str | None = None) -> str:
        """Show a code block as it is; `info` would choose a lexer, or a script."""
        return f"<pre><code>{escape(code)}</code></pre>"

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """Show an image's description; to fetch the image would tell who reads the page."""
        return f"<em>[image: {escape(text)}]</em>"


def _load_plugins() -> list[Any]:
    return [import_plugin(name) for name in _PLUGINS]


def _placed(place: int, cell: Cell) -> Any:  # noqa: ANN401 - nbformat's own node
    match cell:
        case StudentCell(kind=CellKind.CODE):
            return new_code_cell(cell.source, id=f"cell-{place}")
        case _:
            source = cell.source if isinstance(cell, StudentCell) else ""
            return new_markdown_cell(source, metadata={"place": place}, id=f"cell-{place}")


def _keep(html: str) -> str:
    return html
