"""What a student uses: public cases on the student's own machine, without sandbox or reference.

In a notebook: `from grader.student import check; check("decode_attention", decode_attention)`.
"""

from grader.student.notebook import check
from grader.student.result import PublicResult

__all__ = ["PublicResult", "check"]
