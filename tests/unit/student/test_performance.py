"""Performance at home: what is measured, and what is said of it."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from grader.assignment.steps import Call, New, PhaseEnd, PhaseStart, Ref
from grader.assignment.target import Quantity
from grader.commands.app import build_app
from grader.intake.submission import Submission
from grader.student import performance
from grader.student.performance import (
    UNKNOWN,
    HomeRun,
    Meter,
    describe,
    measure_target,
    run_once,
    slopes,
)
from grader.student.workloads import PublishedRun, PublishedTarget, dump_targets, publish


@given(
    st.floats(-1, 3),
    st.floats(0.01, 100),
    st.lists(st.integers(2, 5000), min_size=2, max_size=6, unique=True),
    st.integers(1, 3),
)
def test_a_power_is_found_in_each_repeat(power, scale, sizes, repeats):
    points = tuple((size, scale * size**power) for size in sorted(sizes)) * repeats
    found = slopes(points)
    assert len(found) == repeats
    assert all(math.isclose(one, power, abs_tol=1e-6) for one in found)


def test_one_size_has_no_power():
    assert slopes(((8, 1.0), (8, 1.0))) == ()
    assert slopes(()) == ()


def published(quantity, *runs, ranks=0):
    return PublishedTarget(
        problem="f", target="t", quantity=quantity, ranks=ranks, description="", runs=runs
    )


RUNS = (
    PublishedRun(size=10, steps=(), bytes_moved=100),
    PublishedRun(
        size=100, steps=(), bytes_moved=1000, traffic_bytes=3 << 20, derivation="3 * 1 MiB"
    ),
)


@pytest.mark.parametrize(
    ("quantity", "runs", "says"),
    [
        (
            Quantity.GROWTH,
            (HomeRun(size=10, cpu_ns=10**6), HomeRun(size=100, cpu_ns=10**8)) * 2,
            "1 ms at 10, 100 ms at 100|power of 2.00 (2.00 to 2.00)|grow with a power of 1.00",
        ),
        (
            Quantity.GROWTH,
            (HomeRun(size=10, cpu_ns=10**6),),
            "1 ms at 10|not done within 30 s: 100",
        ),
        (Quantity.MEMORY, (HomeRun(size=100, peak_bytes=5 << 20),), "peak 5.0 MiB more"),
        (Quantity.MEMORY, (HomeRun(size=100),), "not measured at home"),
        (
            Quantity.TRAFFIC,
            (HomeRun(size=100, traffic_bytes=4 << 20),),
            "4.0 MiB crossed the network; at least 3.0 MiB must: 3 * 1 MiB",
        ),
        (Quantity.TIME, (), "no size was done within 30 s: size 10 is the smallest"),
        (Quantity.TIME, (HomeRun(size=10, fault="it raised"),), "stopped: it raised"),
    ],
)
def test_what_was_measured_is_said(quantity, runs, says):
    lines = describe(published(quantity, *RUNS), runs)
    assert all(any(part in line for line in lines) for part in says.split("|")), lines


SOURCE = """
import torch
class Box:
    def fill(self, megabytes):
        self.held = torch.ones(megabytes << 18)
def f(x):
    return x.sort()
def loop():
    while True: pass
def fails():
    raise ValueError("of the student")
"""


@pytest.fixture
def measure(tmp_path):
    def run(quantity, *steps, source=SOURCE):
        texts = tuple((1, publish(step)) for step in steps)
        target = published(quantity, PublishedRun(size=4, steps=texts))
        (tmp_path / "public").mkdir()
        (tmp_path / "public" / "_performance.json").write_text(dump_targets((target,)))
        submission = Submission.of_text("demo", source)
        return measure_target(submission, tmp_path, target)

    return run


def test_memory_is_what_the_calls_took_and_not_their_arguments(measure):
    steps = (New("Box"), Call("f", torch.ones(8 << 18)), Call(Ref(0), "fill", 64), PhaseEnd())
    (run,) = measure(Quantity.MEMORY, *steps)
    assert run.fault == ""
    assert 60 << 20 < run.peak_bytes < 200 << 20
    assert run.traffic_bytes == UNKNOWN


def test_a_file_that_does_not_load_is_said(measure):
    (run,) = measure(Quantity.TIME, Call("f"), source="def f(:")
    assert "does not load: SyntaxError" in run.fault


def test_a_statement_that_raises_costs_what_needs_it(measure):
    runs = measure(Quantity.TIME, Call("f", torch.ones(3)), source=f"1 / 0\n{SOURCE}")
    assert {run.fault for run in runs} == {""}


def test_a_name_that_failed_to_load_says_why(measure):
    (run,) = measure(Quantity.TIME, Call("f"), source="import no_such_module as f")
    assert "loading the file: ModuleNotFoundError: No module named 'no_such_module'" in run.fault
    assert "so f is not defined" in run.fault


def test_a_loop_without_end_is_left(measure, monkeypatch):
    monkeypatch.setattr(performance, "LIMIT_S", 0.5)
    assert measure(Quantity.MEMORY, Call("loop")) == ()


def here(*steps):
    """Run a workload in this process."""
    namespace: dict[str, object] = {}
    exec(SOURCE, namespace)
    run = PublishedRun(size=4, steps=tuple((2, publish(step)) for step in steps))
    target = published(Quantity.TIME, run)
    return run_once(target, run, Meter(namespace, {}))


def test_all_calls_of_a_phase_are_timed():
    x = torch.rand(1 << 16)
    whole = here(Call("f", x))
    assert whole.fault == ""
    assert whole.cpu_ns > 0
    assert here(Call("f", x), PhaseStart()).cpu_ns == 0
    assert here(PhaseEnd(), Call("f", x)).cpu_ns == 0


@pytest.mark.parametrize(("name", "says"), [("fails", "of the student"), ("nothing", "nothing")])
def test_what_fails_is_said(name, says):
    assert says in here(Call(name)).fault


@pytest.fixture
def command(tmp_path, monkeypatch):
    """`grader check --performance` of a problem of kv_cache, with runs that are given."""
    runs = (HomeRun(size=24, cpu_ns=10**6), HomeRun(size=72, cpu_ns=3 * 10**6))
    asked: list[str] = []

    def measured(submission, folder, target):
        asked.append(target.target)
        return (
            runs if target.quantity is Quantity.GROWTH else (HomeRun(size=1, peak_bytes=1 << 20),)
        )

    monkeypatch.setattr(performance, "measure_target", measured)
    (tmp_path / "kv_cache.py").write_text("# grader: kv_cache\nimport torch\n")

    def run(problem, *options):
        words = ["check", str(tmp_path), "--performance", "--problem", problem, *options]
        done = CliRunner().invoke(build_app("check"), words, env={"COLUMNS": "160"})
        assert done.exit_code == 0, done.output
        return done.stdout, asked

    return run


def test_the_command_says_first_that_nothing_of_it_gives_points(command):
    printed, asked = command("KVCache")
    first = printed.splitlines()[0]
    assert "Rough numbers of this machine" in first
    assert "never give points" in printed
    assert asked == ["append_growth", "presized_memory"]
    for said in (
        "KVCache.append_growth (10 points): Appending grows no faster than the reference",
        "1 ms at 24, 3 ms at 72",
        "all points up to 0.15, half up to 0.4",
        "peak 1.0 MiB more than before the calls",
    ):
        assert said in printed


def test_what_only_a_gpu_is_graded_on_is_named(command):
    printed, asked = command("decode_attention")
    assert asked == ["grouped_memory"]
    assert "Not tried at home" in printed
    assert "decode_attention.decode_time" in printed


def test_the_command_prints_json(command):
    printed, _ = command("KVCache", "--json")
    found = json.loads(printed)
    assert [one["target"] for one in found] == ["append_growth", "presized_memory"]
    assert found[0]["runs"][1]["cpu_ns"] == 3 * 10**6
