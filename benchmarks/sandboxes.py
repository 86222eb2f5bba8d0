"""What sandboxes cost: start, fork, round trip, one graded submission; side by side in one run.

    python benchmarks/sandboxes.py [--json FILE]

Takes: this machine's sandboxes. Gives: a table, and JSON with hardware, versions and date. Does not
cover: students' own time.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from grader.assignment.folders import find_assignment, find_reference
from grader.assignment.loaded import LoadedAssignment, load_assignment_with_reference
from grader.assignment.steps import Call
from grader.correctness.run import measure
from grader.evidence.comparison import use_one_thread
from grader.intake.submission import Origin, SourceFile, Submission
from grader.judge.judge import judge
from grader.judge.judgement import Verdict
from grader.performance.measure.targets import measure_targets
from grader.sandbox.backends import missing_bwrap, missing_docker
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE
from grader.sandbox.pool import SandboxPool
from grader.validate.known_submission import Kind, load_known_submissions
from grader.worker.machine import TimedMachine
from grader.worker.session import open_session

EMPTY = Submission(
    name="empty",
    sha256="",
    origin=Origin.MODULE,
    entry="empty",
    files=(SourceFile(name="empty.py", text="def nothing():\n    return None\n"),),
)
FORKS = 30
CALLS = 300
SUBMISSIONS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class WallCost:
    """What one sandbox costs.

    Attributes:
        backend: name of the backend.
        start_s: sandbox and fork server with torch and Triton imported.
        fork_to_loaded_ms: median and quartiles over `FORKS`: child forked, confined, limited, an
            empty module imported, and swept.
        call_us: median and quartiles over `CALLS`: an empty call, freeze and thaw included.
        clocked_mean_us: mean of what the judge's clock charges for such a call.
        submission_wall_s: median over `SUBMISSIONS` of grading the reference of kv_cache.
        submission_judge_cpu_s: the judge's own CPU time for it, oracles included.
        target_wall_s: by target, measuring the reference against itself until that decides.
    """

    backend: str
    start_s: float
    fork_to_loaded_ms: tuple[float, float, float]
    call_us: tuple[float, float, float]
    clocked_mean_us: float
    submission_wall_s: float
    submission_judge_cpu_s: float
    target_wall_s: dict[str, float]


def measure_wall(backend: str, loaded: LoadedAssignment) -> WallCost:
    begin = time.perf_counter()
    pool = SandboxPool(
        backend,
        loaded.plan.limits,
        isolation=Isolation.WARM,
        jobs=1,
        device="cpu",
        image=DEFAULT_IMAGE,
    )
    with closing(pool) as sandboxes:
        with sandboxes.borrow() as sandbox:
            start_s = time.perf_counter() - begin
            limits = loaded.plan.limits

            def fork() -> None:
                with open_session(sandbox, EMPTY, limits=limits) as session:
                    session.load()

            forks = [_timed(fork) * 1e3 for _ in range(FORKS)]
            with open_session(sandbox, EMPTY, limits=limits) as session:
                session.load()
                calls = [_timed(lambda: session.call(Call("nothing"))) * 1e6 for _ in range(CALLS)]
                clocked_mean_us = session.wall_ns / CALLS / 1e3
        solution = next(s for s in load_known_submissions(loaded) if s.kind is Kind.SOLUTION)
        walls_s, cpus_s = [], []
        for _ in range(SUBMISSIONS):
            cpu_before = _own_cpu_s()
            begin = time.perf_counter()
            judgement = judge(
                loaded.plan,
                measure(solution.submission(), loaded, sandboxes=sandboxes, machine=TimedMachine()),
            )
            walls_s.append(time.perf_counter() - begin)
            cpus_s.append(_own_cpu_s() - cpu_before)
            assert all(c.verdict is Verdict.PASS for c in judgement.checks if c.cases)
        target_wall_s = _time_targets(solution.submission(), loaded, sandboxes)
    return WallCost(
        backend=backend,
        start_s=start_s,
        fork_to_loaded_ms=_quartiles(forks),
        call_us=_quartiles(calls),
        clocked_mean_us=clocked_mean_us,
        submission_wall_s=statistics.median(walls_s),
        submission_judge_cpu_s=statistics.median(cpus_s),
        target_wall_s=target_wall_s,
    )


def _time_targets(
    submission: Submission, loaded: LoadedAssignment, sandboxes: SandboxPool
) -> dict[str, float]:
    """Time each target's verdict by itself, after one that starts the reference's sandbox."""
    took: dict[str, float] = {}
    measurable = [(p, t) for p in loaded.plan.problems for t in p.targets if t.tiers]
    for problem, target in [measurable[0], *measurable]:
        alone = replace(problem, targets=(target,))
        mine = replace(loaded, plan=replace(loaded.plan, problems=(alone,)))
        begin = time.perf_counter()
        measure_targets(
            submission, mine, frozenset({problem.name}), sandboxes=sandboxes, machine=TimedMachine()
        )
        took[f"{problem.name}.{target.name}"] = time.perf_counter() - begin
    return took


def _time_check() -> float:
    """Return the seconds that `grader check` takes on finished work, median of three."""
    took: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(find_reference("kv_cache") / "solution.py", Path(folder) / "kv_cache.py")
        command = [sys.executable, "-m", "grader", "check", "--assignments"]
        for _ in range(3):
            begin = time.perf_counter()
            subprocess.run(
                [*command, str(find_assignment("kv_cache").parent)],
                cwd=folder,
                check=True,
                stdout=subprocess.DEVNULL,
            )
            took.append(time.perf_counter() - begin)
    return statistics.median(took)


def _timed(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    low, median, high = statistics.quantiles(values, n=4)
    return (low, median, high)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    use_one_thread()
    loaded = load_assignment_with_reference(
        find_assignment("kv_cache"), find_reference("kv_cache"), device="cpu", seed="benchmark"
    )
    usable = {"docker": missing_docker(DEFAULT_IMAGE), "bwrap": missing_bwrap(), "none": ""}
    costs = [measure_wall(name, loaded) for name, why_not in usable.items() if not why_not]
    for cost in costs:
        print(
            f"{cost.backend:7} start {cost.start_s:5.2f} s   "
            f"fork {cost.fork_to_loaded_ms[1]:6.1f} ms   "
            f"call {cost.call_us[1]:6.0f} us, clocked {cost.clocked_mean_us:5.0f} us   "
            f"kv_cache {cost.submission_wall_s:5.2f} s wall time, "
            f"{cost.submission_judge_cpu_s:5.2f} s CPU of the judge"
        )
        for name, seconds in cost.target_wall_s.items():
            print(f"        {name} decided in {seconds:.1f} s")
    check_s = _time_check()
    print(f"grader check of finished work: {check_s:.1f} s")
    if options.json:
        facts = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "load_1min": os.getloadavg()[0],
            "python": platform.python_version(),
            "torch": version("torch"),
            "not_measured": {name: why for name, why in usable.items() if why},
            "student_check_s": check_s,
            "sandboxes": [asdict(cost) for cost in costs],
        }
        options.json.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
