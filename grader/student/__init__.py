"""What a student uses: public cases on the student's own machine, without sandbox or reference.

In a notebook: `from grader.student import case, check`, then `check("decode_attention")`, and
`case("decode_attention.causal_tail", 0)` for the inputs of one case.
"""

from grader.student.notebook import case, check
from grader.student.result import PublicResult

__all__ = ["PublicResult", "case", "check"]
