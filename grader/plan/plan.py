"""What will be asked of every submission of a class: pure, and the same for all of them.

Takes: an assignment, its cases, a device and a secret seed. Gives: `Plan`. Does not cover:
carrying it out.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from grader.author.declare import CaseMaker
from grader.errors import AuthorError
from grader.plan.assignment import Assignment, Evidence, Limits, Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCheck:
    """One criterion with its weight, tolerances and number of instances.

    Attributes:
        name: identifier within the problem.
        title: what is checked, as a student reads it.
        description: the case's docstring.
        points: published weight.
        tolerance: largest allowed scaled error by dtype name; others are compared exactly.
        evidence: what the verdict stands on.
        public: instances from the public seed.
        hidden: instances from the secret seed.
    """

    name: str
    title: str
    description: str
    points: float
    tolerance: dict[str, float]
    evidence: Evidence
    public: int
    hidden: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedProblem:
    """One problem and its checks."""

    name: str
    title: str
    exports: tuple[str, ...]
    checks: tuple[PlannedCheck, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that a run asks.

    Attributes:
        assignment: slug.
        title: one line for people.
        device: `cpu` or `cuda`.
        seed: secret seed of hidden cases; stays on the staff side.
        limits: what one child process may use.
        problems: in the order in which they run.
        assignment_sha256: hash of the assignment folder.
        reference_sha256: hash of the reference folder.
    """

    assignment: str
    title: str
    device: str
    seed: str
    limits: Limits
    problems: tuple[PlannedProblem, ...]
    assignment_sha256: str
    reference_sha256: str

    @property
    def sha256(self) -> str:
        """Hash of everything in the plan; with the submission's hash it is the resume key."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def points(self) -> float:
        """Sum of the weights of all checks."""
        return sum(check.points for problem in self.problems for check in problem.checks)


def make_plan(
    assignment: Assignment,
    cases: Mapping[tuple[str, str], CaseMaker],
    *,
    device: str,
    seed: str,
    assignment_sha256: str,
    reference_sha256: str,
) -> Plan:
    """Join the published checks with their cases.

    Raises:
        AuthorError: if a check has no case, or a case has no check.
    """
    checks = {(p.name, c.name) for p in assignment.problems for c in p.checks}
    stray = ", ".join(".".join(key) for key in sorted(cases.keys() - checks))
    if stray:
        raise AuthorError(
            f"{assignment.slug}: cases without a check: {stray}",
            hint="add [[problem.check]] tables to assignment.toml, or remove the cases",
        )
    return Plan(
        assignment=assignment.slug,
        title=assignment.title,
        device=device,
        seed=seed,
        limits=assignment.limits,
        problems=tuple(_plan_problem(assignment.slug, p, cases) for p in assignment.problems),
        assignment_sha256=assignment_sha256,
        reference_sha256=reference_sha256,
    )


def _plan_problem(
    slug: str, problem: Problem, cases: Mapping[tuple[str, str], CaseMaker]
) -> PlannedProblem:
    checks: list[PlannedCheck] = []
    for check in problem.checks:
        maker = cases.get((problem.name, check.name))
        if maker is None:
            raise AuthorError(
                f"{slug}: check {problem.name}.{check.name} has no case",
                hint=f'add @case("{problem.name}", "{check.name}") to cases.py',
            )
        checks.append(
            PlannedCheck(
                name=check.name,
                title=check.title,
                description=(maker.make.__doc__ or "").strip(),
                points=check.points,
                tolerance=check.tolerance,
                evidence=check.evidence,
                public=maker.public,
                hidden=maker.hidden,
            )
        )
    return PlannedProblem(
        name=problem.name,
        title=problem.title,
        exports=problem.exports,
        checks=tuple(checks),
    )


def hash_folder(folder: Path) -> str:
    """Return the SHA-256 of all files below `folder`, names included, caches left out."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or any(_is_cache(part) for part in relative.parts):
            continue
        content = path.read_bytes()
        digest.update(f"{relative.as_posix()}\x1f{len(content)}\x1f".encode())
        digest.update(content)
    return digest.hexdigest()


def _is_cache(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"
