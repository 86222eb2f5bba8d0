"""What a student can see of performance at home: growth, peak memory and network traffic.

`measure_target` plays a published workload on the student's own code, in a process of its own, for
a limited time. There is no reference and no sandbox here, and the machine is not the grader's:
nothing of this counts for a grade.
"""

import contextlib
import gc
import math
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from grader.assignment.declare import load_harness
from grader.assignment.steps import (
    Call,
    New,
    PhaseEnd,
    PhaseStart,
    Ref,
    Value,
    WorkloadStep,
    tap,
)
from grader.assignment.target import Quantity
from grader.correctness.drive import Worker, drive
from grader.errors import SandboxError
from grader.intake.submission import Submission
from grader.performance.decide.interval import slope_weights
from grader.student.local_ranks import LOOPBACK, LocalRanks
from grader.student.local_worker import LocalWorker
from grader.student.public_run import (
    START_WALL_S,
    ReplayJob,
    boot_command,
    from_line,
    lay_out,
    to_line,
)
from grader.student.replay import load
from grader.student.workloads import PublishedRun, PublishedTarget, load_targets, recorded_steps

REPEAT_S = 10.0
"""Seconds after which a target's sizes are not repeated any more."""
LIMIT_S = 30.0
"""Seconds for one target; sizes that do not fit in are left out."""
REPEATS = 3
UNKNOWN = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeRun:
    """One run at home; a number is `UNKNOWN` if this machine cannot measure it.

    Attributes:
        cpu_ns: processor time of all calls.
        peak_bytes: growth of the process's memory to its peak.
        traffic_bytes: that crossed the loopback device.
        fault: why the run ended early; empty if it did not.
    """

    size: int
    cpu_ns: int = UNKNOWN
    peak_bytes: int = UNKNOWN
    traffic_bytes: int = UNKNOWN
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """Where the submission is, as for the public cases, and which target to run on it."""

    replay: ReplayJob
    problem: str
    target: str
    results: str


def measure_target(
    submission: Submission, assignment: Path, target: PublishedTarget
) -> tuple[HomeRun, ...]:
    """Run a target on a submission, small sizes first; return the runs that ended in time.

    Raises:
        SandboxError: if the process does not start.
    """
    with tempfile.TemporaryDirectory(prefix="grader-performance-") as scratch:
        results = Path(scratch) / "results"
        job = _Job(
            replay=lay_out(submission, assignment, f"{submission.entry}.py", Path(scratch)),
            problem=target.problem,
            target=target.target,
            results=str(results),
        )
        results.touch()
        _run_process(job, results)
        started, *lines = results.read_text(encoding="utf-8").splitlines() or [""]
    if not started:
        raise SandboxError("Python could not start your code", hint="does `grader check` run?")
    return tuple(from_line(HomeRun, line) for line in lines if line[-1] == "}")


def _run_process(job: _Job, results: Path) -> None:
    """Run a job in a process of its own, until it ends or has taken its time since its start."""
    process = subprocess.Popen(
        boot_command("performance", to_line(job)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=job.replay.folder,
    )
    deadline_s, has_started = time.monotonic() + START_WALL_S, False
    try:
        while time.monotonic() < deadline_s:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.05)
                return
            if not has_started and results.stat().st_size:
                deadline_s, has_started = time.monotonic() + LIMIT_S, True
    finally:
        process.kill()
        process.wait()


def main(text: str) -> None:
    """Run a job in this process, and write a line for each run."""
    job = from_line(_Job, text)
    folder = Path(job.replay.assignment)
    (target,) = (
        one
        for one in load_targets(folder)
        if (one.problem, one.target) == (job.problem, job.target)
    )
    harness = load_harness(folder, "harness")
    with Path(job.results).open("a", encoding="utf-8") as out:
        try:
            submission, failures = load(job.replay)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a module may raise anything
            fault = f"your file does not load: {type(error).__name__}: {error}"
            out.write(f"started\n{to_line(HomeRun(size=0, fault=fault))}")
            return
        print("started", file=out, flush=True)
        timed = target.quantity in (Quantity.TIME, Quantity.GROWTH)
        if timed and not target.ranks:
            run_once(target, target.runs[0], Meter(submission, harness, failures=failures))  # warm
        begin = time.monotonic()
        for repeat in range(REPEATS if timed else 1):
            if repeat and time.monotonic() - begin > REPEAT_S:
                return
            for run in target.runs:
                worker: Worker = (
                    LocalRanks(submission, harness, most=target.ranks, failures=failures)
                    if target.ranks
                    else Meter(submission, harness, failures=failures)
                )
                done = run_once(target, run, worker)
                out.write(to_line(done))
                out.flush()
                if done.fault:
                    return


def run_once(target: PublishedTarget, run: PublishedRun, worker: Worker) -> HomeRun:
    """Run a workload once, and read the meters at the beginning and the end of its phase."""
    steps = recorded_steps(run)  # with all arguments, whose memory is not the student's
    before = _begin(worker)
    ended: list[HomeRun] = []

    def on_step(step: WorkloadStep) -> WorkloadStep | None:
        nonlocal before
        if isinstance(step, PhaseStart):
            before = _begin(worker)
        elif isinstance(step, PhaseEnd):
            ended.append(_since(before, run, worker))
        else:
            return step
        return None

    done = drive(tap(steps, on_step), worker, check=target.target, index=0, public=True)
    fault = "; ".join(filter(None, (f"{one.message} {one.detail}".strip() for one in done.faults)))
    if fault:
        return HomeRun(size=run.size, fault=fault)
    return ended[-1] if ended else _since(before, run, worker)


def _begin(worker: Worker) -> tuple[int, int, int]:
    """Return processor time, memory and traffic so far; memory's peak is counted from here."""
    gc.collect()
    cpu_ns = worker.cpu_ns if isinstance(worker, Meter) else 0
    return cpu_ns, _reset_peak(), _loopback_bytes()


def _since(before: tuple[int, int, int], run: PublishedRun, worker: Worker) -> HomeRun:
    """Return what was used since `before`: traffic of ranks, time and memory of anything else."""
    cpu_ns, peak_bytes, traffic_bytes = before
    if not isinstance(worker, Meter):
        now = _loopback_bytes()
        sent = now - traffic_bytes if now != UNKNOWN else UNKNOWN
        return HomeRun(size=run.size, traffic_bytes=sent)
    now = _peak_bytes()
    grown = max(now - peak_bytes, 0) if now != UNKNOWN else UNKNOWN
    return HomeRun(size=run.size, cpu_ns=worker.cpu_ns - cpu_ns, peak_bytes=grown)


class Meter(LocalWorker):
    """Runs requests in this process, without copies, and adds up their processor time."""

    cpu_ns = 0

    def _ask(self, step: New | Call, request: Callable[[], Value]) -> Value:
        return self._run(request)

    def _kept(self, reply: Value) -> Value:
        return reply

    def _timed(self, request: Callable[[], Value]) -> Value:
        begin_ns = time.process_time_ns()
        try:
            return super()._timed(request)
        finally:
            self.cpu_ns += time.process_time_ns() - begin_ns

    def _as_argument(self, leaf: Value) -> Value:
        return self._table.object(leaf.id) if isinstance(leaf, Ref) else leaf


def _reset_peak() -> int:
    """Return the memory that this process has now, from which its peak is counted."""
    with contextlib.suppress(OSError):  # Linux alone: now the peak is what there is
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak_bytes()


def _peak_bytes() -> int:
    """Return the largest memory that this process has had; UNKNOWN on Windows."""
    with contextlib.suppress(OSError, ValueError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return UNKNOWN
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _loopback_bytes() -> int:
    """Return the bytes that this machine has sent to itself; UNKNOWN without Linux."""
    try:
        lines = Path("/proc/net/dev").read_text(encoding="ascii").splitlines()
        (counts,) = (line for line in lines if line.strip().startswith(f"{LOOPBACK}:"))
        return int(counts.partition(":")[2].split()[8])
    except (OSError, ValueError):
        return UNKNOWN


def describe(target: PublishedTarget, runs: tuple[HomeRun, ...]) -> list[str]:
    """Return what was measured, as lines for the student."""
    faults = [run.fault for run in runs if run.fault]
    if faults:
        return [f"stopped: {faults[0]}"]
    if not runs:
        return [
            f"no size was done within {LIMIT_S:g} s: size {target.runs[0].size} is the smallest"
        ]
    lines: list[str] = []
    if target.quantity in (Quantity.TIME, Quantity.GROWTH):
        lines = _time_lines(target, runs)
    elif target.quantity is Quantity.MEMORY and runs[-1].peak_bytes != UNKNOWN:
        lines = [f"peak {_mebibytes(runs[-1].peak_bytes)} more than before the calls"]
    elif target.quantity is Quantity.TRAFFIC and runs[-1].traffic_bytes != UNKNOWN:
        least = target.runs[-1]
        must = f"{_mebibytes(least.traffic_bytes)} must: {least.derivation}"
        lines = [f"{_mebibytes(runs[-1].traffic_bytes)} crossed the network; at least {must}"]
    return lines or ["not measured at home: this needs Linux, or the grader's own counters"]


def _time_lines(target: PublishedTarget, runs: tuple[HomeRun, ...]) -> list[str]:
    points = tuple((run.size, run.cpu_ns / 1e6) for run in runs if run.cpu_ns != UNKNOWN)
    if not points:
        return []
    best = {size: min(ms for at, ms in points if at == size) for size, _ in points}
    times = ", ".join(f"{ms:.3g} ms at {size}" for size, ms in best.items())
    lines = [f"processor time {times}"]
    left_out = [str(run.size) for run in target.runs if run.size not in best]
    if left_out:
        lines.append(f"not done within {LIMIT_S:g} s: {', '.join(left_out)}")
    own = slopes(points)
    if target.quantity is Quantity.GROWTH and own:
        spread = f"{min(own):.2f} to {max(own):.2f}" if len(own) > 1 else "one run"
        middle = sorted(own)[len(own) // 2]
        lines.append(f"grows as size to the power of {middle:.2f} ({spread})")
        work = slopes(tuple((run.size, float(run.bytes_moved)) for run in target.runs))
        if all(run.bytes_moved for run in target.runs):
            lines.append(f"the bytes that must be moved grow with a power of {work[0]:.2f}")
    return lines


def _mebibytes(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def slopes(points: tuple[tuple[int, float], ...]) -> tuple[float, ...]:
    """Return the exponent of growth of each repeat of (size, cost).

    A repeat begins where sizes start again; those with fewer than two sizes say nothing.
    """
    repeats: list[list[tuple[int, float]]] = []
    for size, cost in points:
        if not repeats or size <= repeats[-1][-1][0]:
            repeats.append([])
        repeats[-1].append((size, cost))
    found: list[float] = []
    for sizes, costs in (zip(*one, strict=True) for one in repeats if len(one) > 1):
        logarithms = (math.log(max(cost, 1e-9)) for cost in costs)
        found.append(sum(map(float.__mul__, slope_weights(sizes), logarithms)))
    return tuple(found)
