import itertools
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from grader.assignment.plan import PlannedProblem, PlannedTarget
from grader.assignment.target import Clock
from grader.evidence.faults import Fault, FaultKind
from grader.evidence.samples import TargetMeasurement
from grader.judge.judgement import Cause, CheckJudgement, Verdict
from grader.judge.targets import judge_target
from grader.performance.decide.interval import Kind, exp_ratio
from grader.report import messages
from grader.report.output_folder import write_student
from grader.report.student_view import make_view
from grader.report.target_view import TargetFindingView, TargetView, view_target
from tests.unit.report import target_samples
from tests.unit.report.planting import plant
from tests.unit.report.target_samples import MIB, MS, make_measured

PROBLEM = PlannedProblem(name="P", title="P", exports=(), checks=())


def _judged(target: PlannedTarget, measured: TargetMeasurement) -> CheckJudgement:
    return judge_target(PROBLEM, target, [], [measured])


def _view(target: PlannedTarget, measured: TargetMeasurement) -> TargetView:
    return view_target(target, _judged(target, measured), [measured], "cpu")


def _finding(target: PlannedTarget, measured: TargetMeasurement) -> TargetFindingView:
    (finding,) = _view(target, measured).finding
    return finding


def test_a_ratio_has_estimate_interval_tiers_and_one_value_per_fork() -> None:
    finding = _finding(target_samples.SLOW, make_measured(target_samples.SLOW, 3.0, forks=4))
    cpu, wall_clock = finding.metrics
    assert (cpu.name, cpu.decides, wall_clock.decides) == ("Processor time", True, False)
    assert cpu.estimate == pytest.approx(3.0, rel=0.02)
    assert cpu.low < min(cpu.forks) + 0.1
    assert cpu.low < cpu.estimate < cpu.high
    assert [cpu.full_at, cpu.pass_at] == pytest.approx([1.15, 1.7])
    assert len(cpu.forks) == finding.forks == 4
    assert (finding.pairs, finding.all_pairs, finding.left_out) == (16, 16, ())
    assert cpu.source == "cgroup of the sandboxed process"
    assert wall_clock.source == "the grader's clock"


def test_times_are_net_of_what_null_calls_cost() -> None:
    (size,) = _finding(target_samples.FAST, make_measured(target_samples.FAST, 0.5, spread=0)).sizes
    assert size.reference == pytest.approx(40 * MS)
    assert size.submission == pytest.approx(20 * MS)


def test_the_estimate_is_that_of_the_judgement() -> None:
    measured = make_measured(target_samples.SLOW, 3.0)
    (finding,) = _judged(target_samples.SLOW, measured).finding
    shown = _finding(target_samples.SLOW, measured)
    for metric, view in zip(finding.metrics, shown.metrics, strict=True):
        assert view.estimate == pytest.approx(math.exp(metric.interval.estimate))


def test_growth_has_exponents_of_both_sides_and_a_limit_at_the_largest_size() -> None:
    target = target_samples.QUADRATIC
    finding = _finding(target, make_measured(target, 16.0, power=1.0, forks=3, spread=0.001))
    growth, largest, *shown = finding.metrics
    assert growth.is_slope
    assert growth.estimate == pytest.approx(1.0, abs=0.02)
    assert largest.estimate == pytest.approx(16.0, rel=0.02)
    assert largest.pass_at == pytest.approx(10.0)
    assert (growth.decides, largest.decides) == (True, True)
    assert [metric.decides for metric in shown] == [False, False]
    (powers,) = finding.exponents
    assert powers == pytest.approx((2.0, 1.0), abs=0.02)
    assert [size.size for size in finding.sizes] == list(target_samples.GROWTH_SIZES)
    assert all(len(size.submission_forks) == 3 for size in finding.sizes)


def test_memory_and_traffic_are_in_bytes() -> None:
    memory = _finding(
        target_samples.MEMORY, make_measured(target_samples.MEMORY, 1.5, forks=3, spread=0)
    )
    assert memory.in_bytes
    assert memory.sizes[0].submission == 96 * MIB
    assert memory.sizes_text == "Size 1024: yours 96.0 MiB, reference 64.0 MiB per run."
    traffic = _finding(
        target_samples.TRAFFIC, make_measured(target_samples.TRAFFIC, 1.05, forks=3, spread=0)
    )
    assert traffic.metrics[0].base == "the theoretical amount"
    assert traffic.metrics[0].forks == pytest.approx((1.05,) * 3)


def test_forks_left_out_are_counted_with_the_evidence() -> None:
    measured = make_measured(target_samples.PARTLY, 1.4, stolen=2, forks=8)
    finding = _finding(target_samples.PARTLY, measured)
    assert (finding.pairs, finding.all_pairs) == (28, 32)
    assert finding.left_out == (f"1 fork, because {messages.STOLEN_TEXT}",)
    assert "4 of 32 were left out" in finding.counts


def test_the_limit_of_the_network_is_named() -> None:
    measured = make_measured(target_samples.SLOW, 3.0)
    assert "network" not in _finding(target_samples.SLOW, measured).counts
    slowed = replace(measured, network_rate=131_600_000)
    assert _finding(target_samples.SLOW, slowed).counts.endswith(
        " The network of both was limited to 132 MB/s."
    )


def test_points_between_the_tiers_name_the_value_that_they_are_computed_from() -> None:
    target = target_samples.PARTLY
    measured = make_measured(target, 1.42, forks=24, spread=0.02)
    check = _judged(target, measured)
    (finding,) = view_target(target, check, [measured], "cpu").finding
    (counted,) = finding.metrics[0].counted
    assert 5 < check.points < 10
    assert check.points == pytest.approx(5 + 5 * (1.7 - counted) / (1.7 - 1.15), abs=0.01)
    assert finding.metrics[1].counted == ()


def test_what_fails_has_no_value_that_points_are_computed_from() -> None:
    finding = _finding(target_samples.SLOW, make_measured(target_samples.SLOW, 3.0))
    assert all(metric.counted == () for metric in finding.metrics)


def test_a_single_fork_has_an_interval_without_ends() -> None:
    finding = _finding(target_samples.FAST, make_measured(target_samples.FAST, 0.9, forks=1))
    metric = finding.metrics[0]
    assert (metric.text(metric.low), metric.text(metric.high)) == ("0.00", "∞")


def test_roofline_of_both_sides_where_a_floor_is_known() -> None:
    measured = make_measured(target_samples.WAITING, 1.0, spread=0)
    assert _finding(target_samples.WAITING, measured).roofline == ()
    (shares,) = _finding(
        target_samples.WAITING, target_samples.with_roofline(measured, 21.0)
    ).roofline
    assert shares == ("50 %", "50 %")


def test_numbers_that_await_review_are_for_the_staff() -> None:
    measured = target_samples.with_roofline(make_measured(target_samples.NEEDS_REVIEW, 0.04), 30.0)
    assert _judged(target_samples.NEEDS_REVIEW, measured).verdict is Verdict.NEEDS_REVIEW
    assert _view(target_samples.NEEDS_REVIEW, measured).finding == ()
    record = target_samples.make_target_record()
    (awaiting,) = [
        c for p in make_view(record).problems for c in p.checks if c.verdict == "NEEDS_REVIEW"
    ]
    assert (awaiting.summary, awaiting.charts) == ("", ())


def test_too_noisy_shows_its_metrics_and_is_no_zero() -> None:
    view = _view(
        target_samples.NOISY, make_measured(target_samples.NOISY, 1.5, forks=12, spread=0.4)
    )
    assert view.open_text == messages.NOISY_TEXT
    assert len(view.finding) == 1


def test_a_device_that_is_not_there_is_named() -> None:
    target = target_samples.NO_DEVICE
    view = view_target(target, judge_target(PROBLEM, target, [], []), [], "cpu")
    assert view.open_text == (
        "This part needs a CUDA GPU (cuda:*) or an NVIDIA H200 (cuda:h200), and you were graded on "
        "cpu; it is not a zero. The course staff can grade it on another machine."
    )
    unknown = replace(target, devices=())
    assert "needs a device" in view_target(unknown, _no_device(unknown), [], "cpu").open_text


def _no_device(target: PlannedTarget) -> CheckJudgement:
    return judge_target(PROBLEM, target, [], [])


def test_memory_that_cannot_be_counted_is_not_a_missing_gpu() -> None:
    measured = replace(make_measured(target_samples.MEMORY), metered=False)
    view = _view(target_samples.MEMORY, measured)
    assert _judged(target_samples.MEMORY, measured).cause is Cause.NO_DEVICE
    assert view.open_text == messages.UNMETERED_TEXT


def test_a_target_of_a_problem_with_failed_checks_is_not_measured() -> None:
    record = target_samples.make_target_record()
    check = make_view(record).problems[2].checks[-1]
    assert check.blocked
    assert check.charts == ()
    assert "count once all of them pass" in check.summary


def test_a_fault_in_a_measured_run_is_not_blocked() -> None:
    fault = Fault(kind=FaultKind.TIMEOUT, message="no reply in 5 s")
    measured = replace(make_measured(target_samples.SLOW), faults=(fault,))
    view = _view(target_samples.SLOW, measured)
    assert (view.blocked, view.finding) == (False, ())


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (0.012, "0.012"), (1.255, "1.25"), (24.1, "24.1"), (812.3, "812")],
)
def test_ratios_as_text(value: float, text: str) -> None:
    assert messages.ratio_text(value) == text
    assert messages.ratio_text(math.inf) == "∞"


@pytest.mark.parametrize(
    ("ns", "text"),
    [(1.0, "1 ns"), (999.7, "1000 ns"), (1.5e3, "1.5 µs"), (20e6, "20 ms"), (3.7e12, "3700 s")],
)
def test_times_as_text(ns: float, text: str) -> None:
    assert messages.time_text(ns) == text


def test_other_numbers_as_text() -> None:
    assert messages.slope_text(-0.001) == "0.00"
    assert messages.slope_text(-math.inf) == "-∞"
    assert messages.bytes_text(512) == "0.5 KiB"
    assert messages.bytes_text(300 * MIB) == "300 MiB"
    assert [messages.percent_text(x) for x in (0.0002, 0.02, 0.4, math.inf)] == [
        "under 0.1 %",
        "2.0 %",
        "40 %",
        "∞ %",
    ]
    assert exp_ratio(1e4) == math.inf
    assert set(messages.KIND_SOURCES) == set(Kind)


def test_every_device_class_has_a_text() -> None:
    from grader.assignment.target import CLASSES

    assert set(messages.DEVICE_TEXT) == set(CLASSES)


def test_no_secret_of_a_target_reaches_a_students_file(tmp_path: Path) -> None:
    numbers = itertools.count()
    planted: dict[str, str] = {}

    def mark(path: str, text: str) -> str:
        marker = f"mk{next(numbers):05d}"
        planted[marker] = path
        return marker

    write_student(plant(target_samples.make_target_record(), mark), tmp_path)
    pages = [p for p in (tmp_path / "students").rglob("*") if p.is_file()]
    seen = {planted[m] for p in pages for m in re.findall(r"mk\d{5}", p.read_text())}
    of_targets = {path for path in seen if "targets" in path or "finding[]" in path}
    assert of_targets == {
        "measurement.targets[].timelines[].collectives[].name",  # of a run with public inputs
        "measurement.targets[].work[].derivation",
        "plan.problems[].targets[].description",
        "plan.problems[].targets[].devices[]",
    }
    assert "plan.seed" not in seen
    assert "judgement.checks[].finding[].broken[]" in planted.values()


def test_the_seed_and_the_floor_stay_out_of_a_students_file(tmp_path: Path) -> None:
    record = target_samples.make_target_record()
    write_student(record, tmp_path)
    (broken,) = {line for c in record.judgement.checks for p in c.finding for line in p.broken[:1]}
    for page in (tmp_path / "students").rglob("*.*"):
        text = page.read_text(encoding="utf-8")
        assert record.plan.seed not in text
        assert broken not in text
        assert "floor of" not in text


def test_the_clock_that_decides_comes_first() -> None:
    waiting = _finding(target_samples.WAITING, make_measured(target_samples.WAITING))
    assert target_samples.WAITING.clock is Clock.WALL
    assert [metric.meter for metric in waiting.metrics] == ["Wall-clock time", "Processor time"]
