"""Pages and tables made from records; student pages are made from a `StudentView` alone."""

from grader.report.class_index import render_class_index
from grader.report.grades import render_grades
from grader.report.output_folder import ReportError, write_reports, write_student
from grader.report.pages import render_report_html, render_report_markdown
from grader.report.student_view import StudentView, make_view

__all__ = [
    "ReportError",
    "StudentView",
    "make_view",
    "render_class_index",
    "render_grades",
    "render_report_html",
    "render_report_markdown",
    "write_reports",
    "write_student",
]
