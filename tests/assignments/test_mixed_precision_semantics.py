"""The assignment `mixed_precision`: is the oracle right, do its tests of chance mean something?"""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from grader.assignment.declare import load_harness, load_solution
from grader.assignment.steps import PhaseEnd, Work, WorkloadSteps, tap
from grader.assignment.table import Problem, load_assignment
from grader.author import Draw, load_cases, load_folder
from grader.correctness.drive import drive
from grader.student.local_ranks import local_worker
from grader.student.local_worker import LocalWorker
from grader.student.verdict import judge_case

ROOT = Path(__file__).resolve().parents[2]
ASSIGNMENT = ROOT / "assignments" / "mixed_precision"
REFERENCE = ROOT / "reference" / "mixed_precision"

TABLE = load_assignment(ASSIGNMENT)
CASES = load_cases(REFERENCE)
HARNESS = load_harness(ASSIGNMENT, "harness")
HARNESS_MODULE = sys.modules["harness"]
ORACLE = load_folder(REFERENCE, "oracle")
ROUNDING = load_folder(REFERENCE, "rounding_cases")
WORKLOADS = load_folder(REFERENCE, "workloads")
SOLUTION = load_solution(REFERENCE)
RIGHT = sorted((REFERENCE / "right").glob("*.py"))

QUICK = [problem for problem in TABLE.problems if problem.name != "train"]


@pytest.fixture(autouse=True)
def harness(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Submissions may import the harness by its name, as in the sandbox."""
    monkeypatch.setitem(sys.modules, "harness", HARNESS_MODULE)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"right_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("problem", QUICK, ids=lambda problem: problem.name)
@pytest.mark.parametrize("path", RIGHT, ids=lambda path: path.stem)
def test_right_submissions_pass_other_seeds(path: Path, problem: Problem) -> None:
    worker = local_worker(problem.ranks, vars(load(path)), HARNESS)
    for check in problem.checks:
        maker = CASES[problem.name, check.name]
        for index in range(maker.hidden):
            draw = Draw("another seed", (TABLE.slug, problem.name, check.name), index)
            seen = drive(maker(draw), worker, check=check.name, index=index, public=False)
            assert not seen.faults, (check.name, seen.faults)
            assert judge_case(seen, check.tolerance).reason is None, check.name


def test_adamw_is_the_published_one() -> None:
    value = torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rule: dict[str, Any] = {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.3}
    mine = ORACLE.AdamW(weight=value, **rule)
    parameter = torch.nn.Parameter(value.clone())
    theirs = torch.optim.AdamW([parameter], foreach=False, **rule)
    for step in range(1, 6):
        gradient = torch.sin(value * step)
        parameter.grad = gradient
        theirs.step()
        mine.step(gradient)
    torch.testing.assert_close(mine.weight, parameter.detach(), rtol=1e-12, atol=0)
    mine.step(None)
    assert mine.steps == 5


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_fused_step_is_the_plain_one(dtype: torch.dtype) -> None:
    # In the interpreter, which rounds bfloat16 wrongly: float16 stands for the low dtypes.
    rule = SOLUTION._Rule(0.01, (0.9, 0.99), 1e-6, 0.1)
    value = torch.linspace(-2, 2, 1500).to(dtype)
    fused, plain = (SOLUTION._Slot(torch.nn.Parameter(value.clone())) for _ in range(2))
    for step in range(1, 4):
        gradient = torch.cos(value.float() * step).to(dtype)
        for slot in (fused, plain):
            slot.steps = step
        with torch.no_grad():
            parts = (fused.parameter.detach(), gradient, fused.master, fused.m, fused.v)
            fused._step_fused(parts, rule)
            plain._step_plain(gradient.float(), rule)
    for name in ("master", "m", "v"):
        torch.testing.assert_close(getattr(fused, name), getattr(plain, name), rtol=3e-6, atol=1e-8)
    torch.testing.assert_close(fused.parameter, plain.parameter, rtol=1e-3, atol=1e-6)


def test_scale_follows_the_rules() -> None:
    scale = ORACLE.Scale(value=2.0**23, growth=4.0, backoff=0.5, interval=2)
    seen = []
    for overflow in (False, False, True, False, True, False, False):
        scale.end_round(overflow=overflow)
        seen.append(scale.value)
    big = 2.0**24
    assert seen == [2.0**23, big, big / 2, big / 2, big / 4, big / 4, big]
    low = ORACLE.Scale(value=1.5, growth=2.0, backoff=0.5, interval=1)
    low.end_round(overflow=True)
    low.end_round(overflow=False, had_gradient=False)
    assert (low.value, low.good_rounds) == (1.0, 0)


def test_rounding_with_every_noise_has_the_right_mean() -> None:
    every = torch.arange(65536, dtype=torch.int32)
    for number in (1.003, -7.77e-5, 3e-40):
        x = torch.full((65536,), number)
        rounded = ORACLE.rounded_with(x, every).double()
        assert len(rounded.unique()) == 2
        torch.testing.assert_close(rounded.mean(), x[0].double(), rtol=1e-9, atol=0)


def _numbers(index: int) -> tuple[torch.Tensor, torch.Tensor]:
    draw = Draw("chance", ("rounding",), index)
    x = draw.uniform_tensor(ROUNDING.GROUPS, ROUNDING.PER_GROUP, low=1.0, high=2.0)
    noise = draw.integer_tensor(*x.shape, low=0, high=65535).to(torch.int32)
    return x, noise


def test_chance_is_not_taken_for_bias() -> None:
    for index in range(30):
        x, noise = _numbers(index)
        got = SOLUTION.stochastic_round(x, noise)
        assert ROUNDING._unbiased(x, got, x) is got, index


@pytest.mark.parametrize("index", range(4))
def test_bias_is_not_taken_for_chance(index: int) -> None:
    x, noise = _numbers(index)
    rounded = SOLUTION.stochastic_round
    controls = {
        "toward zero": rounded(x, torch.zeros_like(noise)),
        "away from zero": rounded(x, torch.full_like(noise, 65535)),
        "to nearest": x.to(torch.bfloat16),
        "noise of 15 bits": rounded(x, noise >> 1),
        "noise of 17 bits, cut": rounded(x, (noise * 2).clamp(max=65535)),
        "one row of noise for all": rounded(x, noise[:1].expand_as(noise)),
        "another neighbour": (x * 1.02).to(torch.bfloat16),
    }
    for name, got in controls.items():
        assert ROUNDING._unbiased(x, got, x) is not got, name


def test_false_alarms_are_rarer_than_one_run_in_a_million() -> None:
    two_sided = torch.erfc(torch.tensor(ROUNDING.LARGEST_Z / 2**0.5, dtype=torch.float64)).item()
    maker = CASES["stochastic_round", "unbiased"]
    sums = 3 * ROUNDING.GROUPS * (maker.public + maker.hidden)
    assert sums * two_sided < 1e-6


def _without_meters(steps: WorkloadSteps) -> WorkloadSteps:
    return tap(steps, lambda step: None if isinstance(step, Work | PhaseEnd) else step)


@pytest.mark.parametrize("path", RIGHT, ids=lambda path: path.stem)
@pytest.mark.parametrize("backward_counts", [True, False])
def test_workloads_at_small_sizes(path: Path, backward_counts: bool) -> None:
    worker = LocalWorker(vars(load(path)), HARNESS)
    sizes = {"n_blocks": 3, "width": 16, "hidden": 48, "backward_counts": backward_counts}
    adamw = {"count": 3, "numel": 8192, "fills": 2, "steps": 3}
    for target, steps in (
        ("activation_memory", WORKLOADS._forward_and_backward(Draw("s", ("a",), 0), 2048, **sizes)),
        ("state_memory", WORKLOADS._steps_of_adamw(Draw("s", ("b",), 0), **adamw)),
    ):
        tolerance = {t.name: t.tolerance for p in TABLE.problems for t in p.targets}[target]
        seen = drive(_without_meters(steps), worker, check=target, index=0, public=False)
        assert not seen.faults
        assert seen.observations
        assert judge_case(seen, tolerance).reason is None


def test_the_arithmetic_of_activations() -> None:
    # What the graph of a chain keeps, in bytes per token and block: 40 C and 22 C in the handout.
    width, hidden, tokens = 64, 256, 1024
    model = HARNESS["Chain"](torch.zeros(1), n_blocks=4, width=width, hidden=hidden)

    def kept_bytes(low: bool) -> float:
        seen: dict[int, int] = {}

        def pack(x: torch.Tensor) -> torch.Tensor:
            if x.numel() >= tokens * width:
                seen[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            kept.append(x)  # so that no address is used again
            return x

        kept: list[torch.Tensor] = []
        x = torch.randn(tokens, width)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            out = SOLUTION.autocast_forward(model, x) if low else model(x)
        assert out.shape == x.shape
        return sum(seen.values()) / tokens / 4 / width

    assert kept_bytes(low=False) == pytest.approx(40, abs=0.5)
    assert kept_bytes(low=True) == pytest.approx(22, abs=0.5)
