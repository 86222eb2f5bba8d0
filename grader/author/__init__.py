"""What a course author writes an assignment with; `reference/<slug>/cases.py` imports from here."""

from grader.author.declare import CaseMaker, Workload, case, load_cases, load_folder, workload
from grader.author.draw import PUBLIC_SEED, Draw
from grader.author.sequences import Operation, PlaySteps, Sequence, SequenceMaker, sequence_case
from grader.author.steps import (
    Call,
    CaseSteps,
    Drop,
    Expect,
    New,
    OverwriteArguments,
    PhaseEnd,
    Raises,
    ReclaimArguments,
    Ref,
    Step,
    Value,
    Work,
    WorkloadSteps,
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
    "Operation",
    "OverwriteArguments",
    "PhaseEnd",
    "PlaySteps",
    "Raises",
    "ReclaimArguments",
    "Ref",
    "Sequence",
    "SequenceMaker",
    "Step",
    "Value",
    "Work",
    "Workload",
    "WorkloadSteps",
    "case",
    "load_cases",
    "load_folder",
    "sequence_case",
    "workload",
]
