"""`LoadedAssignment`: an assignment, its reference and the plan from both, read once per run."""

import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from grader.assignment.declare import CaseMaker, Key, Workload, load_cases, load_workloads
from grader.assignment.folders import harness_files, shared_files, solution_files
from grader.assignment.key_path import KeyPath
from grader.assignment.plan import Plan, hash_folder, make_plan
from grader.assignment.table import Assignment, load_assignment
from grader.errors import AuthorError
from grader.intake.submission import SourceFile


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedAssignment:
    """What every later stage needs of an assignment.

    Attributes:
        plan: what is asked of every submission.
        cases: the generators of checks, by problem and check.
        workloads: the generators of targets, by problem and target.
        solution: files of the hidden reference that targets are measured against, the entry first.
        harness: files of the harness; empty if the assignment has none.
        folder: of the assignment.
        reference: folder of the reference.
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
    folder: Path, reference: Path, *, device: str, seed: str, without_device_targets: bool = False
) -> LoadedAssignment:
    """Read the folders of an assignment and its reference, and make the plan.

    Args:
        folder: of the assignment.
        reference: folder of the reference.
        device: class of the device to grade on, as in `assignment.target`.
        seed: secret seed of the hidden cases.
        without_device_targets: leave out targets that need a device, even if the table does not.

    Raises:
        AuthorError: the message names file and key.
    """
    assignment = _read_table(folder, without_device_targets=without_device_targets)
    cases, workloads = load_cases(reference), load_workloads(reference)
    solution, harness = solution_files(reference), harness_files(folder)
    if workloads and not solution:
        hint = "targets are measured against it; write one, or remove the @workload functions"
        raise AuthorError(f"{reference / 'solution.py'}: not found", hint=hint)
    plan = make_plan(
        assignment,
        cases=cases,
        workloads=workloads,
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


def _read_table(folder: Path, *, without_device_targets: bool) -> Assignment:
    table = load_assignment(folder)
    _refuse_unknown_operators(table, folder)
    left_out = without_device_targets or table.without_device_targets
    return replace(table, without_device_targets=left_out)


def _refuse_unknown_operators(assignment: Assignment, folder: Path) -> None:
    """Look every `denied` entry up in this machine's torch, imported only if there is one.

    Raises:
        AuthorError: the message names file, problem and entry.
    """
    if not any(problem.denied for problem in assignment.problems):
        return
    from grader.runner.denial import find_unknown  # imports torch

    table = KeyPath(file=folder / "assignment.toml")
    for problem in assignment.problems:
        for entry in find_unknown(problem.denied):
            within = table.inside("problem", problem.name)
            within.fail("denied", "an operator, module or class of the installed torch", entry)
