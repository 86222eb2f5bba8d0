"""Which languages an assignment can take.

Takes: nothing. Gives: `Language`. Does not cover: what an assignment must say for each (see
`plan.assignment`), which file is in which language (see `intake.admission`).
"""

from enum import StrEnum


class Language(StrEnum):
    """What a submission may be written in."""

    PYTHON = "python"
    CUDA = "cuda"
