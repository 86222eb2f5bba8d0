"""What a course author writes an assignment with; `reference/<slug>/cases.py` imports from here."""

from grader.author.declare import CaseMaker, case, load_cases, load_folder
from grader.author.draw import PUBLIC_SEED, Draw
from grader.author.steps import (
    Call,
    CaseSteps,
    Drop,
    Expect,
    New,
    OverwriteArguments,
    Raises,
    Ref,
    Step,
    Value,
)

__all__ = [
    "PUBLIC_SEED",
    "Call",
    "CaseMaker",
    "CaseSteps",
    "Draw",
    "Drop",
    "Expect",
    "New",
    "OverwriteArguments",
    "Raises",
    "Ref",
    "Step",
    "Value",
    "case",
    "load_cases",
    "load_folder",
]
