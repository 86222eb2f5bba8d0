"""One submission's report, for a browser and for an LMS comment.

Takes: a `StudentView`. Gives: the text of `report.html` and `report.md`. Does not cover: files
(see `output_folder`), notebooks (see `notebook`).
"""

from grader.report.templates import render_markdown, render_page
from grader.report.view import StudentView


def render_report_html(view: StudentView) -> str:
    """Return `report.html`: one page, nothing fetched, no script."""
    return render_page("report.html.j2", view=view)


def render_report_markdown(view: StudentView) -> str:
    """Return `report.md`."""
    return render_markdown("report.md.j2", view=view)
