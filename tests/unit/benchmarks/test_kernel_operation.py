"""What is found is judged as it should be: shares, goals, rivals that cannot run, strangers."""

import pytest
import torch

from benchmarks.kernels._case import COPY, Bench, Contender, Goal
from benchmarks.kernels._operation import MET, MISSED, NOT_MEASURED, error_of, run_case
from benchmarks.kernels._result import NOT_TIMED, Result, from_json, merged, to_json
from benchmarks.kernels._roofline import Ceilings, Yardsticks
from tests.unit.benchmarks.fake_bench import FakeDevice, case_of, contender

YARDSTICKS = Yardsticks(
    contenders=(contender(COPY, 8.0), contender("product", 9.0)),
    bytes_moved=2 * 10**9,
    flops=10**12,
)


def run(case, device, **seconds_of) -> Result:
    device.seconds_of = {1.0: [1.0], 2.0: [2.0], 8.0: [1.0], 9.0: [1.0], **seconds_of}
    return run_case(
        "op", case, YARDSTICKS, device=device, budget_s=1.0, clock=iter(range(9)).__next__
    )


def test_shares_are_of_the_copy_and_the_roof():
    (ours, theirs) = run(case_of(contender("rival", 2.0)), FakeDevice()).rows
    assert (ours.contender, theirs.contender) == ("kernel", "rival")
    assert ours.bytes_per_s == 1e9
    assert ours.copy_share == pytest.approx(0.5)
    assert ours.roofline_share == pytest.approx(0.5)
    assert theirs.copy_share == pytest.approx(0.25)
    assert (ours.kernel_speed.estimate, theirs.kernel_speed.estimate) == (1.0, 2.0)
    assert theirs.error == pytest.approx(1.0)


def test_the_roof_is_the_lower_of_two():
    ceilings = Ceilings(bytes_per_s=1e9, flops_per_s=1e12)
    assert ceilings.floor_s(case_of()) == 1.0
    assert ceilings.floor_s(case_of(flops=3 * 10**12)) == 3.0


@pytest.mark.parametrize(
    ("goal", "word"),
    [
        (Goal(against=COPY, at_least=0.5), MET),
        (Goal(against=COPY, at_least=0.51), MISSED),
        (Goal(against="rival", at_least=2.0), MET),
        (Goal(against="rival", at_least=2.1), MISSED),
        (Goal(against="nobody", at_least=0.1), NOT_MEASURED),
    ],
)
def test_goals(goal, word):
    result = run(case_of(contender("rival", 2.0), goals=(goal,)), FakeDevice())
    assert [outcome.word for outcome in result.outcomes] == [word]


def test_a_goal_that_only_part_of_the_interval_reaches_is_missed():
    """A rival of 1 s and 3 s in turns: the estimate may reach 2, the interval begins at 1."""
    device = FakeDevice()
    device.seconds_of = {2.0: [1.0, 3.0]}
    timed = case_of(contender("rival", 2.0), goals=(Goal(against="rival", at_least=1.5),))
    ticks = iter([0.0, 0.01])
    result = run_case(
        "op", timed, YARDSTICKS, device=device, budget_s=1.0, clock=lambda: next(ticks)
    )
    (speed,) = (row.kernel_speed for row in result.rows if row.contender == "rival")
    assert speed.estimate >= 1.5 > speed.low
    assert result.outcomes[0].word == MISSED


@pytest.mark.parametrize(("held", "word"), [(100, MET), (101, MISSED)])
def test_memory(held, word):
    result = run(case_of(memory_limits=(100,)), FakeDevice(held_bytes=held))
    assert [outcome.word for outcome in result.outcomes] == [word]


def test_without_a_gpu_no_goal_is_met_and_the_note_says_why():
    case = case_of(goals=(Goal(against=COPY, at_least=0.0),), memory_limits=(10**9,))
    result = run(case, FakeDevice(counts=False))
    assert {outcome.word for outcome in result.outcomes} == {NOT_MEASURED}
    assert result.note == NOT_TIMED


def test_a_rival_that_cannot_run_is_named_with_its_reason():
    def refuse() -> torch.Tensor:
        raise RuntimeError("No available\nkernel")

    result = run(case_of(Contender(name="SDPA", call=refuse)), FakeDevice())
    (absent,) = result.absent
    assert (absent.contender, absent.reason) == ("SDPA", "RuntimeError: No available kernel")
    assert [row.contender for row in result.rows] == ["kernel"]


def test_a_kernel_that_cannot_run_is_our_fault():
    case = case_of()
    with pytest.raises(RuntimeError, match="compile"):
        Bench(device=FakeDevice(counts=False)).compile(torch.exp)(torch.ones(1))
    assert run(case, FakeDevice()).broken == ()


@pytest.mark.parametrize("value", [2.0, float("nan")])
def test_a_result_far_from_the_others_is_broken(value):
    result = run(case_of(contender("rival", value), tolerance=0.5), FakeDevice())
    assert len(result.broken) == 1
    assert "rival differs" in result.broken[0]


def test_errors_are_relative_to_the_largest_element():
    want = torch.tensor([10.0, 0.0])
    assert error_of(torch.tensor([10.0, 1.0]), want) == pytest.approx(0.1)
    assert error_of(torch.zeros(2), torch.zeros(2)) == 0.0


def test_a_result_comes_back_from_json():
    import json

    result = run(case_of(contender("rival", 2.0), memory_limits=(1,)), FakeDevice())
    assert from_json(json.dumps({"result": to_json(result)})) == result
    both = merged([result, result])
    assert len(both.rows) == 2 * len(result.rows)
    assert both.method == result.method
