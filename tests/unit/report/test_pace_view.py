import itertools
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from grader.judge.judgement import Cause, CheckJudgement, Verdict
from grader.judge.pace import judge_target
from grader.measure.figure import Kind
from grader.measure.measurement import Fault, FaultKind
from grader.measure.samples import TargetMeasurement
from grader.plan.plan import PlannedProblem, PlannedTarget
from grader.plan.target import Clock
from grader.report import pace_words
from grader.report.output_folder import write_student
from grader.report.pace_view import PaceView, TargetView, view_target
from grader.report.view import make_view
from tests.unit.report import pace_samples
from tests.unit.report.pace_samples import MIB, MS, make_measured
from tests.unit.report.planting import plant

PROBLEM = PlannedProblem(name="P", title="P", exports=(), checks=())


def _judged(target: PlannedTarget, measured: TargetMeasurement) -> CheckJudgement:
    return judge_target(PROBLEM, target, [], [measured])


def _view(target: PlannedTarget, measured: TargetMeasurement) -> TargetView:
    return view_target(target, _judged(target, measured), [measured], "cpu")


def _pace(target: PlannedTarget, measured: TargetMeasurement) -> PaceView:
    (pace,) = _view(target, measured).pace
    return pace


def test_a_ratio_has_estimate_interval_tiers_and_one_value_per_fork() -> None:
    pace = _pace(pace_samples.SLOW, make_measured(pace_samples.SLOW, 3.0, forks=4))
    cpu, wall = pace.figures
    assert (cpu.name, cpu.decides, wall.decides) == ("Processor time", True, False)
    assert cpu.estimate == pytest.approx(3.0, rel=0.02)
    assert cpu.low < min(cpu.forks) + 0.1
    assert cpu.low < cpu.estimate < cpu.high
    assert [cpu.full_at, cpu.pass_at] == pytest.approx([1.15, 1.7])
    assert len(cpu.forks) == pace.forks == 4
    assert (pace.pairs, pace.all_pairs, pace.left_out) == (16, 16, ())
    assert cpu.source == "control group of the box"
    assert wall.source == "the judge's clock"


def test_times_are_net_of_what_empty_calls_cost() -> None:
    (size,) = _pace(pace_samples.FAST, make_measured(pace_samples.FAST, 0.5, spread=0)).sizes
    assert size.reference == pytest.approx(40 * MS)
    assert size.subject == pytest.approx(20 * MS)


def test_the_estimate_is_that_of_the_judgement() -> None:
    measured = make_measured(pace_samples.SLOW, 3.0)
    (pace,) = _judged(pace_samples.SLOW, measured).pace
    shown = _pace(pace_samples.SLOW, measured)
    for figure, view in zip(pace.figures, shown.figures, strict=True):
        assert view.estimate == pytest.approx(math.exp(figure.interval.estimate))


def test_growth_has_exponents_of_both_sides_and_a_limit_at_the_largest_size() -> None:
    target = pace_samples.QUADRATIC
    pace = _pace(target, make_measured(target, 16.0, power=1.0, forks=3, spread=0.001))
    growth, largest, *shown = pace.figures
    assert growth.is_slope
    assert growth.estimate == pytest.approx(1.0, abs=0.02)
    assert largest.estimate == pytest.approx(16.0, rel=0.02)
    assert largest.pass_at == pytest.approx(10.0)
    assert (growth.decides, largest.decides) == (True, True)
    assert [figure.decides for figure in shown] == [False, False]
    (powers,) = pace.exponents
    assert powers == pytest.approx((2.0, 1.0), abs=0.02)
    assert [size.size for size in pace.sizes] == list(pace_samples.GROWTH_SIZES)
    assert all(len(size.subject_forks) == 3 for size in pace.sizes)


def test_memory_and_traffic_are_in_bytes() -> None:
    memory = _pace(pace_samples.MEMORY, make_measured(pace_samples.MEMORY, 1.5, forks=3, spread=0))
    assert memory.in_bytes
    assert memory.sizes[0].subject == 96 * MIB
    assert memory.sizes_words == "Size 1024: yours 96.0 MiB, reference 64.0 MiB per run."
    wire = _pace(pace_samples.WIRE, make_measured(pace_samples.WIRE, 1.05, forks=3, spread=0))
    assert wire.figures[0].base == "what arithmetic says"
    assert wire.figures[0].forks == pytest.approx((1.05,) * 3)


def test_forks_left_out_are_counted_with_the_evidence() -> None:
    measured = make_measured(pace_samples.PARTLY, 1.4, stolen=2, forks=8)
    pace = _pace(pace_samples.PARTLY, measured)
    assert (pace.pairs, pace.all_pairs) == (28, 32)
    assert pace.left_out == (f"1 fork: {pace_words.STOLEN_WORDS}",)
    assert "4 of 32 were left out" in pace.counts


def test_the_rate_of_a_slowed_wire_is_told() -> None:
    measured = make_measured(pace_samples.SLOW, 3.0)
    assert "wire" not in _pace(pace_samples.SLOW, measured).counts
    slowed = replace(measured, wire_rate=131_600_000)
    assert _pace(pace_samples.SLOW, slowed).counts.endswith(
        " The wire of both was held to 132 MB/s."
    )


def test_points_between_the_tiers_name_the_bound_that_they_are_given_for() -> None:
    target = pace_samples.PARTLY
    measured = make_measured(target, 1.42, forks=24, spread=0.02)
    check = _judged(target, measured)
    (pace,) = view_target(target, check, [measured], "cpu").pace
    (counted,) = pace.figures[0].counted
    assert 5 < check.points < 10
    assert check.points == pytest.approx(5 + 5 * (1.7 - counted) / (1.7 - 1.15), abs=0.01)
    assert pace.figures[1].counted == ()


def test_what_fails_has_no_bound_that_points_are_given_for() -> None:
    pace = _pace(pace_samples.SLOW, make_measured(pace_samples.SLOW, 3.0))
    assert all(figure.counted == () for figure in pace.figures)


def test_a_single_fork_has_an_interval_without_ends() -> None:
    pace = _pace(pace_samples.FAST, make_measured(pace_samples.FAST, 0.9, forks=1))
    figure = pace.figures[0]
    assert (figure.words(figure.low), figure.words(figure.high)) == ("0.00", "∞")


def test_roofline_of_both_sides_where_a_floor_is_known() -> None:
    measured = make_measured(pace_samples.WAITING, 1.0, spread=0)
    assert _pace(pace_samples.WAITING, measured).roofline == ()
    (shares,) = _pace(pace_samples.WAITING, pace_samples.with_roofline(measured, 21.0)).roofline
    assert shares == ("50 %", "50 %")


def test_held_points_keep_their_numbers_to_the_staff() -> None:
    measured = pace_samples.with_roofline(make_measured(pace_samples.HELD, 0.04), 30.0)
    assert _judged(pace_samples.HELD, measured).verdict is Verdict.HELD
    assert _view(pace_samples.HELD, measured).pace == ()
    record = pace_samples.make_target_record()
    (held,) = [c for p in make_view(record).problems for c in p.checks if c.verdict == "HELD"]
    assert (held.summary, held.charts) == ("", ())


def test_too_noisy_shows_its_figures_and_is_no_zero() -> None:
    view = _view(pace_samples.NOISY, make_measured(pace_samples.NOISY, 1.5, forks=12, spread=0.4))
    assert view.open_words == pace_words.NOISY_WORDS
    assert len(view.pace) == 1


def test_a_device_that_is_not_there_is_named() -> None:
    target = pace_samples.NO_DEVICE
    view = view_target(target, judge_target(PROBLEM, target, [], []), [], "cpu")
    assert view.open_words == (
        "It needs a CUDA GPU (cuda:*) or an NVIDIA H200 (cuda:h200), and you were graded on cpu; "
        "it is not a zero."
    )
    unknown = replace(target, devices=())
    assert "needs a device" in view_target(unknown, _no_device(unknown), [], "cpu").open_words


def _no_device(target: PlannedTarget) -> CheckJudgement:
    return judge_target(PROBLEM, target, [], [])


def test_memory_that_cannot_be_counted_is_not_a_missing_gpu() -> None:
    measured = replace(make_measured(pace_samples.MEMORY), metered=False)
    view = _view(pace_samples.MEMORY, measured)
    assert _judged(pace_samples.MEMORY, measured).cause is Cause.NO_DEVICE
    assert view.open_words == pace_words.UNMETERED_WORDS


def test_a_target_behind_failed_checks_is_not_measured() -> None:
    record = pace_samples.make_target_record()
    check = make_view(record).problems[2].checks[-1]
    assert check.blocked
    assert check.charts == ()
    assert "count once every check above passes" in check.summary


def test_a_fault_in_a_measured_run_is_not_blocked() -> None:
    fault = Fault(kind=FaultKind.TIMEOUT, message="no reply in 5 s")
    measured = replace(make_measured(pace_samples.SLOW), faults=(fault,))
    view = _view(pace_samples.SLOW, measured)
    assert (view.blocked, view.pace) == (False, ())


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "0.00"), (0.012, "0.012"), (1.255, "1.25"), (24.1, "24.1"), (812.3, "812")],
)
def test_ratios_in_words(value: float, words: str) -> None:
    assert pace_words.ratio_words(value) == words
    assert pace_words.ratio_words(math.inf) == "∞"


@pytest.mark.parametrize(
    ("ns", "words"),
    [(1.0, "1 ns"), (999.7, "1000 ns"), (1.5e3, "1.5 µs"), (20e6, "20 ms"), (3.7e12, "3700 s")],
)
def test_times_in_words(ns: float, words: str) -> None:
    assert pace_words.time_words(ns) == words


def test_other_words() -> None:
    assert pace_words.slope_words(-0.001) == "0.00"
    assert pace_words.slope_words(-math.inf) == "-∞"
    assert pace_words.bytes_words(512) == "0.5 KiB"
    assert pace_words.bytes_words(300 * MIB) == "300 MiB"
    assert [pace_words.percent_words(x) for x in (0.0002, 0.02, 0.4, math.inf)] == [
        "under 0.1 %",
        "2.0 %",
        "40 %",
        "∞ %",
    ]
    assert pace_words.exp_ratio(1e4) == math.inf
    assert set(pace_words.KIND_SOURCES) == set(pace_words.KIND_METERS) == set(Kind)


def test_every_device_class_has_words() -> None:
    from grader.device.classes import CLASSES

    assert set(pace_words.DEVICE_WORDS) == set(CLASSES)


def test_no_secret_of_a_target_reaches_a_students_file(tmp_path: Path) -> None:
    numbers = itertools.count()
    planted: dict[str, str] = {}

    def mark(path: str, text: str) -> str:
        marker = f"mk{next(numbers):05d}"
        planted[marker] = path
        return marker

    write_student(plant(pace_samples.make_target_record(), mark), tmp_path)
    pages = [p for p in (tmp_path / "students").rglob("*") if p.is_file()]
    seen = {planted[m] for p in pages for m in re.findall(r"mk\d{5}", p.read_text())}
    of_targets = {path for path in seen if "targets" in path or "pace" in path}
    assert of_targets == {
        "measurement.targets[].timelines[].collectives[].name",  # of a run with public inputs
        "measurement.targets[].work[].derivation",
        "plan.problems[].targets[].description",
        "plan.problems[].targets[].devices[]",
    }
    assert "plan.seed" not in seen
    assert "judgement.checks[].pace[].broken[]" in planted.values()


def test_the_seed_and_the_floor_stay_out_of_a_students_file(tmp_path: Path) -> None:
    record = pace_samples.make_target_record()
    write_student(record, tmp_path)
    (broken,) = {line for c in record.judgement.checks for p in c.pace for line in p.broken[:1]}
    for page in (tmp_path / "students").rglob("*.*"):
        text = page.read_text(encoding="utf-8")
        assert record.plan.seed not in text
        assert broken not in text
        assert "floor of" not in text


def test_the_clock_that_decides_comes_first() -> None:
    waiting = _pace(pace_samples.WAITING, make_measured(pace_samples.WAITING))
    assert pace_samples.WAITING.clock is Clock.WALL
    assert [figure.meter for figure in waiting.figures] == ["Time on the clock", "Processor time"]
