"""`Plan`: what is asked of every submission of a class, made once from an assignment and its cases.

The plan is the same for all submissions and holds no code, so its hash identifies a run.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from grader.assignment.declare import CaseMaker, Key, Workload
from grader.assignment.table import Assignment, Evidence, Limits, Problem
from grader.assignment.target import CPU, CheckKind, Clock, NoDevice, Quantity, Target, Tier
from grader.errors import AuthorError
from grader.intake.submission import SourceFile
from grader.runner.order import is_module


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCheck:
    """One check, as in `Check`, with its number of instances.

    Attributes:
        description: the case's docstring.
        public: instances from the public seed.
        hidden: instances from the secret seed.
        share: of the problem's performance points that failing it costs; 1 for an essential check.
    """

    name: str
    title: str
    description: str
    points: float
    tolerance: dict[str, float]
    evidence: Evidence
    public: int
    hidden: int
    kind: CheckKind = CheckKind.ESSENTIAL
    share: float = 1.0

    @property
    def cases(self) -> int:
        """Number of instances."""
        return self.public + self.hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTarget:
    """One target, as in `Target`, as it applies to the device of this run.

    Attributes:
        description: the workload's docstring.
        tiers: the tier for this device, or none.
        sizes: of the workload, ascending.
        devices: classes that have a tier, sorted; students read them if this device has none.
    """

    name: str
    title: str
    description: str
    points: float
    quantity: Quantity
    clock: Clock
    tiers: tuple[Tier, ...]
    sizes: tuple[int, ...]
    tolerance: dict[str, float]
    evidence: Evidence
    devices: tuple[str, ...] = ()
    network_rate: int = 0
    traffic_share: float = 0.0

    @property
    def cases(self) -> int:
        """Always 0: a workload has runs, not instances."""
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedProblem:
    """One problem, its checks and its targets; `denied` and `ranks` as in `Problem`."""

    name: str
    title: str
    exports: tuple[str, ...]
    checks: tuple[PlannedCheck, ...]
    targets: tuple[PlannedTarget, ...] = ()
    denied: tuple[str, ...] = ()
    ranks: int = 0

    @property
    def label(self) -> str:
        """Name and title, as every page shows them; the name is the column in `grades.csv`."""
        return f"{self.name}: {self.title}"

    @property
    def criteria(self) -> tuple[PlannedCheck | PlannedTarget, ...]:
        """Everything that has points: the checks, then the targets."""
        return (*self.checks, *self.targets)

    @property
    def points(self) -> float:
        """Sum of the weights of all checks and targets."""
        return sum(criterion.points for criterion in self.criteria)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything that a run asks of a submission.

    Attributes:
        assignment: slug.
        device: class of the device, such as `cpu` or `cuda:h200`.
        seed: secret seed of hidden cases; students never see it.
        problems: in the order in which they run.
        left_out_points: of targets that were left out because they need a device.
    """

    assignment: str
    title: str
    device: str
    seed: str
    limits: Limits
    problems: tuple[PlannedProblem, ...]
    assignment_sha256: str
    reference_sha256: str
    left_out_points: float = 0.0

    @property
    def sha256(self) -> str:
        """Hash of everything in the plan; with the submission's hash it is the resume key."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    @property
    def points(self) -> float:
        """Sum of the weights of all checks and targets."""
        return sum(problem.points for problem in self.problems)


def make_plan(
    assignment: Assignment,
    *,
    cases: Mapping[Key, CaseMaker],
    workloads: Mapping[Key, Workload],
    device: str,
    seed: str,
    assignment_sha256: str,
    reference_sha256: str,
) -> Plan:
    """Join the published checks and targets with their cases and workloads.

    Raises:
        AuthorError: if a check has no case, a target no workload, or the other way round.
    """
    checks = {(p.name, c.name) for p in assignment.problems for c in p.checks}
    targets = {(p.name, t.name) for p in assignment.problems for t in p.targets}
    _refuse_strays(assignment.slug, "cases without a check", cases.keys() - checks)
    _refuse_strays(assignment.slug, "workloads without a target", workloads.keys() - targets)
    problems = _plan_problems(assignment, cases, workloads, device)
    return Plan(
        assignment=assignment.slug,
        title=assignment.title,
        device=device,
        seed=seed,
        limits=assignment.limits,
        problems=problems,
        assignment_sha256=assignment_sha256,
        reference_sha256=reference_sha256,
        left_out_points=_left_out_points(assignment, problems),
    )


def _plan_problems(
    assignment: Assignment,
    cases: Mapping[Key, CaseMaker],
    workloads: Mapping[Key, Workload],
    device: str,
) -> tuple[PlannedProblem, ...]:
    return tuple(
        PlannedProblem(
            name=problem.name,
            title=problem.title,
            exports=problem.exports,
            checks=_plan_checks(assignment.slug, problem, cases),
            targets=_plan_targets(assignment, problem, workloads, device),
            denied=problem.denied,
            ranks=problem.ranks,
        )
        for problem in assignment.problems
    )


def _left_out_points(assignment: Assignment, problems: tuple[PlannedProblem, ...]) -> float:
    return sum(
        target.points
        for problem, planned in zip(assignment.problems, problems, strict=True)
        for target in problem.targets
        if target.name not in {one.name for one in planned.targets}
    )


def _refuse_strays(slug: str, what: str, keys: Iterable[Key]) -> None:
    stray = ", ".join(".".join(key) for key in sorted(keys))
    if stray:
        raise AuthorError(
            f"{slug}: {what}: {stray}",
            hint="add the tables to assignment.toml, or remove them from cases.py",
        )


def _plan_checks(
    slug: str, problem: Problem, cases: Mapping[Key, CaseMaker]
) -> tuple[PlannedCheck, ...]:
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
                evidence=check.evidence if all(map(is_module, problem.denied)) else Evidence.DENIED,
                public=maker.public,
                hidden=maker.hidden,
                kind=check.kind,
                share=check.share_of(problem.checks),
            )
        )
    return tuple(checks)


def _plan_targets(
    assignment: Assignment, problem: Problem, workloads: Mapping[Key, Workload], device: str
) -> tuple[PlannedTarget, ...]:
    runs_on = CPU if problem.ranks else device  # ranks always compute on the CPU
    targets: list[PlannedTarget] = []
    for target in problem.targets:
        maker = _workload_of(assignment.slug, problem, target, workloads)
        tiers = target.tiers_for(runs_on)
        # A device's memory is withheld; everything else is measured.
        withheld = target.quantity is Quantity.MEMORY and runs_on != CPU
        if not tiers and target.no_device is NoDevice.LEAVE_OUT:
            continue
        if assignment.without_device_targets and CPU not in target.tiers:
            continue  # with a device, too: the maximum is the same on every machine
        targets.append(
            PlannedTarget(
                name=target.name,
                title=target.title,
                description=(maker.make.__doc__ or "").strip(),
                points=target.points,
                quantity=target.quantity,
                clock=target.clock if runs_on == CPU else Clock.WALL,  # which includes a device
                tiers=tiers,
                sizes=maker.sizes,
                tolerance=target.tolerance,
                evidence=Evidence.DENIED if withheld else Evidence.OUTSIDE,
                devices=tuple(sorted(target.tiers)),
                network_rate=target.network_rate,
                traffic_share=target.traffic_share,
            )
        )
    return tuple(targets)


def _workload_of(
    slug: str, problem: Problem, target: Target, workloads: Mapping[Key, Workload]
) -> Workload:
    """Return the workload of a target, if it has one with as many sizes as its quantity needs."""
    name = f"{slug}: target {problem.name}.{target.name}"
    maker = workloads.get((problem.name, target.name))
    if maker is None:
        raise AuthorError(
            f"{name} has no workload",
            hint=f'add @workload("{problem.name}", "{target.name}", sizes=...) to cases.py',
        )
    if (target.quantity is Quantity.GROWTH) != (len(maker.sizes) > 1):
        raise AuthorError(
            f"{name}: growth needs several sizes, any other quantity exactly one; found "
            f"{target.quantity.value} with sizes {maker.sizes}",
            hint="change `sizes` of its @workload in cases.py",
        )
    return maker


def hash_folder(folder: Path, outside: Iterable[SourceFile] = ()) -> str:
    """Return the SHA-256 of all files below `folder` and their names, without hidden files.

    `outside` are files of other folders that belong to it, such as shared ones.
    """
    contents = {file.name: file.text.encode() for file in outside}
    for path in folder.rglob("*"):
        relative = path.relative_to(folder)
        skipped = any(part.startswith(".") or part == "__pycache__" for part in relative.parts)
        if path.is_file() and not skipped:
            contents[relative.as_posix()] = path.read_bytes()
    digest = hashlib.sha256()
    for name in sorted(contents, key=lambda name: name.split("/")):
        digest.update(f"{name}\x1f{len(contents[name])}\x1f".encode())
        digest.update(contents[name])
    return digest.hexdigest()
