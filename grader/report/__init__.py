"""Pages and tables made from records; student pages are made from a `StudentView` alone."""

from grader.report.output_folder import write_reports, write_student

__all__ = ["write_reports", "write_student"]
