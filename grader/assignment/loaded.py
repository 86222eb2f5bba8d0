"""One assignment with its answers, read once per run: what every later stage needs of it.

Takes: two folders, a device, a seed. Gives: `LoadedAssignment`. Does not cover: submissions.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

from grader.assignment.declare import CaseMaker, Key, Workload, load_cases, load_workloads
from grader.assignment.folders import harness_files, shared_files, solution_files
from grader.assignment.key_path import KeyPath
from grader.assignment.plan import CaseBook, Plan, hash_folder, make_plan
from grader.assignment.table import Assignment, load_assignment
from grader.errors import AuthorError
from grader.intake.submission import SourceFile


def refuse_unknown_operators(assignment: Assignment, folder: Path) -> None:
    """Look every `denied` entry up in this machine's torch, which is imported only if there is one.

    Raises:
        AuthorError: naming file, problem and entry.
    """
    if not any(problem.denied for problem in assignment.problems):
        return
    from grader.runner.denial import find_unknown  # imports torch

    place = KeyPath(file=folder / "assignment.toml")
    for problem in assignment.problems:
        for entry in find_unknown(problem.denied):
            within = place.inside("problem", problem.name)
            within.fail("denied", "operators, modules or classes of this torch", entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedAssignment:
    """An assignment, its cases and the plan made from both.

    Attributes:
        assignment: what students may know.
        plan: what will be asked of every submission.
        cases: the generators of checks, by problem and check.
        workloads: the generators of targets, by problem and target.
        solution: files of the hidden reference, the entry first, which targets are measured
            against.
        harness: files of the assignment's harness; empty if it has none.
        folder: the assignment's folder.
        reference: the reference's folder.
    """

    assignment: Assignment
    plan: Plan
    cases: dict[Key, CaseMaker]
    workloads: dict[Key, Workload]
    solution: tuple[SourceFile, ...]
    harness: tuple[SourceFile, ...]
    folder: Path
    reference: Path


def new_seed() -> str:
    """Return a fresh secret seed of 128 bits."""
    return secrets.token_hex(16)


def load_assignment_with_reference(
    folder: Path, reference: Path, *, device: str, seed: str
) -> LoadedAssignment:
    """Read an assignment and its reference, and make the plan.

    Raises:
        AuthorError: naming file and key.
    """
    assignment = load_assignment(folder)
    refuse_unknown_operators(assignment, folder)
    cases, workloads = load_cases(reference), load_workloads(reference)
    solution, harness = solution_files(reference), harness_files(folder)
    if workloads and not solution:
        path = reference / "solution.py"
        raise AuthorError(f"{path}: not found", hint="every reference folder needs this file")
    plan = make_plan(
        assignment,
        CaseBook(cases=cases, workloads=workloads),
        device=device,
        seed=seed,
        assignment_sha256=hash_folder(folder, harness),
        reference_sha256=hash_folder(reference, (*solution[1:], *shared_files(reference))),
    )
    return LoadedAssignment(
        assignment=assignment,
        plan=plan,
        cases=cases,
        workloads=workloads,
        solution=solution,
        harness=harness,
        folder=folder,
        reference=reference,
    )
