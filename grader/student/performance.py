"""What a student can see of performance at home: growth, peak memory and network traffic.

`measure_target` plays a published workload on the student's own code, in a process of its own, for
a limited time. There is no reference and no sandbox here, and the machine is not the grader's:
nothing of this counts for a grade.
"""

import contextlib
import gc
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from grader.assignment.declare import load_harness
from grader.assignment.folders import PACKAGE
from grader.assignment.steps import (
    Call,
    New,
    PhaseEnd,
    PhaseStart,
    Ref,
    Value,
    WorkloadStep,
    WorkloadSteps,
    tap,
)
from grader.assignment.target import Quantity
from grader.correctness.drive import Worker, drive
from grader.errors import SandboxError
from grader.intake.submission import Submission
from grader.strict import json_converter
from grader.student.local_ranks import LOOPBACK, LocalRanks
from grader.student.local_worker import LocalWorker
from grader.student.public_run import ReplayJob, lay_out
from grader.student.replay import load
from grader.student.workloads import PublishedRun, PublishedTarget, load_targets, recorded_steps

BOX_S = 10.0
"""Seconds after which a target's sizes are not repeated any more."""
LIMIT_S = 30.0
"""Seconds for one target; sizes that do not fit in are left out."""
START_S = 180.0
REPEATS = 3
UNKNOWN = -1

_BOOT = """
import sys
root = sys.argv[1]
sys.path.insert(0, root)
import grader
sys.path.remove(root)
sys.path.append(root)
from grader.student.performance import main
main(sys.argv[2])
"""
_CONVERTER = json_converter()


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeRun:
    """One run at home; a number is `UNKNOWN` if this machine cannot measure it.

    Attributes:
        cpu_ns: processor time of all calls.
        peak_bytes: growth of the process's memory to its peak.
        wire_bytes: that crossed the loopback device.
        fault: why the run ended early; empty if it did not.
    """

    size: int
    cpu_ns: int = UNKNOWN
    peak_bytes: int = UNKNOWN
    wire_bytes: int = UNKNOWN
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
    runs = [_CONVERTER.structure(json.loads(line), HomeRun) for line in lines if line[-1] == "}"]
    return tuple(runs)


def _run_process(job: _Job, results: Path) -> None:
    """Run a job in a process of its own, until it ends or has taken its time."""
    process = subprocess.Popen(
        [sys.executable, "-X", "utf8", "-c", _BOOT, str(PACKAGE.parent), json.dumps(asdict(job))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=job.replay.folder,
    )
    try:
        _wait(process, results)
    finally:
        process.kill()
        process.wait()


def _wait(process: "subprocess.Popen[bytes]", results: Path) -> None:
    """Wait until the process ends, or has taken its time since it wrote its first line."""
    begin = time.monotonic()
    while True:
        started = results.stat().st_size > 0
        if not started:
            box_from = time.monotonic()
        try:
            process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            now = time.monotonic()
            if now - begin > START_S if not started else now - box_from > LIMIT_S:
                return
        else:
            return


def main(text: str) -> None:
    """Run a job in this process, and write a line for each run."""
    job = _CONVERTER.structure(json.loads(text), _Job)
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
            print(f"started\n{json.dumps(asdict(HomeRun(size=0, fault=fault)))}", file=out)
            return
        print("started", file=out, flush=True)
        timed = target.quantity in (Quantity.TIME, Quantity.GROWTH)
        if timed and not target.ranks:
            run_once(target, target.runs[0], Meter(submission, harness, failures=failures))  # warm
        begin = time.monotonic()
        for repeat in range(REPEATS if timed else 1):
            if repeat and time.monotonic() - begin > BOX_S:
                return
            for run in target.runs:
                worker: Worker = (
                    LocalRanks(submission, harness, most=target.ranks, failures=failures)
                    if target.ranks
                    else Meter(submission, harness, failures=failures)
                )
                done = run_once(target, run, worker)
                print(json.dumps(asdict(done)), file=out, flush=True)
                if done.fault:
                    return


def run_once(target: PublishedTarget, run: PublishedRun, worker: Worker) -> HomeRun:
    """Run a workload once, and read the meters at the beginning and the end of its phase."""
    steps = recorded_steps(run)  # with all arguments, whose memory is not the student's
    meters = _Meters(worker)
    done = drive(meters.listen(steps), worker, check=target.target, index=0, public=True)
    fault = "; ".join(filter(None, (f"{one.message} {one.detail}".strip() for one in done.faults)))
    if fault:
        return HomeRun(size=run.size, fault=fault)
    cpu_ns, peak_bytes, wire_bytes = meters.end()
    return HomeRun(size=run.size, cpu_ns=cpu_ns, peak_bytes=peak_bytes, wire_bytes=wire_bytes)


class _Meters:
    """Processor time, peak memory and traffic from the beginning of a phase to its end."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._ended: tuple[int, int, int] | None = None
        self._begin()

    def listen(self, steps: WorkloadSteps) -> WorkloadSteps:
        """Pass on a workload's steps but for the phase's limits."""

        def on_step(step: WorkloadStep) -> WorkloadStep | None:
            if isinstance(step, PhaseStart):
                self._begin()
            elif isinstance(step, PhaseEnd):
                self._ended = self._read()
            else:
                return step
            return None

        return tap(steps, on_step)

    def end(self) -> tuple[int, int, int]:
        """Return processor time, peak and traffic."""
        return self._ended or self._read()

    def _begin(self) -> None:
        gc.collect()
        self._before_ns = getattr(self._worker, "cpu_ns", 0)
        self._before_bytes = _reset_peak()
        self._before_wire = _loopback_bytes()

    def _read(self) -> tuple[int, int, int]:
        alone = isinstance(self._worker, Meter)
        peak, wire = _peak_bytes(), _loopback_bytes()
        return (
            self._worker.cpu_ns - self._before_ns if isinstance(self._worker, Meter) else UNKNOWN,
            max(peak - self._before_bytes, 0) if alone and peak != UNKNOWN else UNKNOWN,
            wire - self._before_wire if not alone and wire != UNKNOWN else UNKNOWN,
        )


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
    elif target.quantity is Quantity.TRAFFIC and runs[-1].wire_bytes != UNKNOWN:
        least = target.runs[-1]
        must = f"{_mebibytes(least.traffic_bytes)} must: {least.derivation}"
        lines = [f"{_mebibytes(runs[-1].wire_bytes)} crossed the network; at least {must}"]
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
    """Return the exponent of growth of each repeat: (size, cost) by least squares of logarithms.

    A repeat begins where sizes start again; those with fewer than two sizes say nothing.
    """
    repeats: list[list[tuple[int, float]]] = []
    for size, cost in points:
        if not repeats or size <= repeats[-1][-1][0]:
            repeats.append([])
        repeats[-1].append((size, cost))
    return tuple(_slope(one) for one in repeats if len(one) > 1)


def _slope(points: list[tuple[int, float]]) -> float:
    x = [math.log(size) for size, _ in points]
    y = [math.log(max(cost, 1e-9)) for _, cost in points]
    middle_x, middle_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - middle_x) * (b - middle_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - middle_x) ** 2 for a in x)
