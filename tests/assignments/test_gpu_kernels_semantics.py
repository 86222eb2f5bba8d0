"""The assignment `gpu_kernels`: whether oracle, reference, cases and handout say the same."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch.nn import functional

from grader.assignment.declare import load_solution, load_workloads
from grader.assignment.folders import find_assignment, find_reference, solution_files
from grader.assignment.table import Problem, load_assignment
from grader.author import Draw, Expect, load_cases, load_folder
from grader.correctness.drive import drive
from grader.judge.judgement import Cause
from grader.student.local_worker import LocalWorker
from grader.student.verdict import judge_case
from grader.validate.known_submission import affected

ASSIGNMENT = find_assignment("gpu_kernels", None)
REFERENCE = find_reference("gpu_kernels", None)

TABLE = load_assignment(ASSIGNMENT)
CASES = load_cases(REFERENCE)
ORACLE = load_folder(REFERENCE, "oracle")
INPUTS = load_folder(REFERENCE, "inputs")
SOLUTION = "\n\n".join(file.text for file in solution_files(REFERENCE))
WRONG = sorted((REFERENCE / "wrong").glob("*.py"))
PROBLEMS = {problem.name: problem for problem in TABLE.problems}
EXPORTS = {name: problem.exports for name, problem in PROBLEMS.items()}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep threads from contending over tensors of a few numbers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _failures(namespace: dict[str, Any], problem: Problem) -> dict[str, Cause]:
    """Return the checks of a problem that fail, each with its first cause."""
    failed: dict[str, Cause] = {}
    for check in problem.checks:
        maker = CASES[problem.name, check.name]
        for index in range(maker.hidden):
            draw = Draw("secret", (TABLE.slug, problem.name, check.name), index)
            seen = drive(
                maker(draw), LocalWorker(namespace, {}), check=check.name, index=index, public=False
            )
            verdict = judge_case(seen, check.tolerance)
            if verdict.cause is not Cause.NONE:
                failed.setdefault(check.name, verdict.cause)
    return failed


def _draw(*path: str) -> Draw:
    return Draw("cross-check", path, 0)


def _near(got: torch.Tensor, want: torch.Tensor, tolerance: float = 1e-7) -> bool:
    scale = max(1.0, float(want.abs().max()))
    return bool(((got.double() - want.double()).abs() <= tolerance * scale).all())


def test_correctness_is_worth_120_points_and_performance_80() -> None:
    checks = [check for problem in TABLE.problems for check in problem.checks]
    targets = [target for problem in TABLE.problems for target in problem.targets]
    assert sum(check.points for check in checks) == 120
    assert sum(target.points for target in targets) == 80


def test_the_handout_has_the_points_of_each_problem() -> None:
    text = (ASSIGNMENT / "README.md").read_text(encoding="utf-8")
    for problem in TABLE.problems:
        checks = sum(check.points for check in problem.checks)
        targets = sum(target.points for target in problem.targets)
        assert re.search(rf"\| `{problem.name}` \| {checks:g} \| {targets:g} \|", text)


def test_every_check_has_a_case_and_every_target_a_workload() -> None:
    checks = {(problem.name, check.name) for problem in TABLE.problems for check in problem.checks}
    targets = {(p.name, target.name) for p in TABLE.problems for target in p.targets}
    assert checks == set(CASES)
    assert targets == set(load_workloads(REFERENCE))


def test_every_problem_denies_what_computes() -> None:
    assert {problem.denied for problem in TABLE.problems} == {("@compute",)}


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_solution_passes_everything(problem: Problem) -> None:
    assert _failures(vars(load_solution(REFERENCE)), problem) == {}


def test_untouched_starter_is_missing_everywhere() -> None:
    starter = vars(load_folder(ASSIGNMENT, "starter"))
    failed = [_failures(starter, problem) for problem in TABLE.problems]
    assert sum(len(one) for one in failed) == len(CASES)
    assert {cause for one in failed for cause in one.values()} == {Cause.MISSING}


@pytest.mark.parametrize("path", WRONG, ids=lambda path: path.stem)
def test_a_wrong_submission_changes_one_problem(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    (caught_by,) = re.findall(r'^# caught_by = "(\w+)\.', text, re.MULTILINE)
    assert affected(SOLUTION, text, EXPORTS) == {caught_by}


def test_every_problem_has_wrong_submissions_enough() -> None:
    texts = [path.read_text(encoding="utf-8") for path in WRONG]
    caught_by = [re.findall(r'^# caught_by = "(\w+)\.', t, re.MULTILINE)[0] for t in texts]
    assert all(caught_by.count(name) >= 6 for name in PROBLEMS)


def test_oracle_of_softmax_and_loss_is_torchs() -> None:
    draw = _draw("loss")
    x = draw.normal_tensor(7, 19, dtype=torch.float64)
    assert torch.allclose(ORACLE.softmax(x), torch.softmax(x, dim=1), rtol=0, atol=1e-15)
    target = draw.integer_tensor(7, low=0, high=18)
    target[2] = -100
    leaf = x.requires_grad_()
    want = functional.cross_entropy(leaf, target)
    loss, gradient = ORACLE.cross_entropy(x.detach(), target, -100)
    assert _near(loss, want.detach())
    assert _near(gradient, torch.autograd.grad(want, leaf)[0], 1e-14)


def test_oracle_of_a_loss_without_rows_is_nan_with_a_gradient_of_zero() -> None:
    loss, gradient = ORACLE.cross_entropy(torch.ones(2, 3), torch.tensor([-1, -1]), -1)
    assert loss.isnan()
    assert not gradient.any()


@pytest.mark.parametrize("centred", [False, True], ids=["rmsnorm", "layernorm"])
def test_oracle_of_norms_is_torchs_with_its_gradients(centred: bool) -> None:
    draw = _draw("norm")
    x, dy = (draw.normal_tensor(5, 12, dtype=torch.float64) for _ in range(2))
    w, b = (draw.normal_tensor(12, dtype=torch.float64) for _ in range(2))
    leaves = [leaf.clone().requires_grad_() for leaf in (x, w, b)]
    if centred:
        want = functional.layer_norm(leaves[0], (12,), leaves[1], leaves[2], eps=1e-3)
        y, mean, rstd = ORACLE.layernorm(x, w, b, 1e-3)
        got = ORACLE.layernorm_backward(dy, x, w, mean, rstd)
    else:
        want = functional.rms_norm(leaves[0], (12,), leaves[1], eps=1e-3)
        y, rstd = ORACLE.rmsnorm(x, w, 1e-3)
        got = ORACLE.rmsnorm_backward(dy, x, w, rstd)
    assert _near(y, want.detach(), 1e-12)
    slopes = torch.autograd.grad(want, leaves[: len(got)], dy)
    assert all(_near(g, s, 1e-6) for g, s in zip(got, slopes, strict=True))  # rstd is float32


@pytest.mark.parametrize(("ours", "torchs"), [("gelu", "none"), ("gelu_tanh", "tanh")])
def test_oracle_of_gelu_is_torchs(ours: str, torchs: str) -> None:
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)[:, None]
    got = ORACLE.matmul(x, torch.ones(1, 1, dtype=torch.float64), None, ours)
    assert _near(got, functional.gelu(x, approximate=torchs), 1e-12)


@pytest.mark.parametrize("lengths", [(5, 9), (6, 6), (1, 7)])
def test_oracle_of_attention_is_torchs_with_its_gradients(lengths: tuple[int, int]) -> None:
    draw, (T, S) = _draw("attention"), lengths
    q = draw.normal_tensor(2, 4, T, 8, dtype=torch.float64).requires_grad_()
    k, v = (draw.normal_tensor(2, 2, S, 8, dtype=torch.float64).requires_grad_() for _ in "kv")
    do = draw.normal_tensor(2, 4, T, 8, dtype=torch.float64)
    keys, values = (x.repeat_interleave(2, dim=1) for x in (k, v))
    mask = torch.ones(T, S, dtype=torch.bool).tril(S - T)
    want = functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=0.3)
    plain = [x.detach() for x in (q, k, v)]
    assert _near(ORACLE.flash_attention(*plain, 0.3, True)[0], want.detach(), 1e-13)
    got = ORACLE.flash_attention_backward(do, plain, 0.3, True)
    slopes = torch.autograd.grad(want, (q, k, v), do)
    assert all(_near(g, s, 1e-12) for g, s in zip(got, slopes, strict=True))


def test_oracle_of_queries_that_see_nothing() -> None:
    draw = _draw("nothing")
    q, k = draw.normal_tensor(1, 1, 4, 2), draw.normal_tensor(1, 1, 2, 2)
    out, lse = ORACLE.flash_attention(q, k, k, None, True)
    assert not out[0, 0, :2].any()
    assert lse[0, 0, :2].tolist() == [-torch.inf, -torch.inf]
    assert torch.equal(out[0, 0, 2], k[0, 0, 0])
    gradients = ORACLE.flash_attention_backward(torch.ones_like(q), (q, k, k), None, True)
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_views_have_gaps_and_strides() -> None:
    draw = _draw("views")
    assert INPUTS.transposed(draw, 3, 5).stride() == (1, 3)
    assert INPUTS.sliced(draw, 3, 5).stride() == (26, 2)
    assert INPUTS.expanded(draw, 3, 5).stride() == (0, 1)
    assert not INPUTS.heads(draw, 1, 2, 3, 4).is_contiguous()


@pytest.mark.parametrize("layout", INPUTS.MATRIX_LAYOUTS)
def test_another_layout_has_the_same_entries(layout: str) -> None:
    x = _draw("layouts").normal_tensor(3, 5)
    laid_out = INPUTS.laid_out(x, layout)
    assert torch.equal(laid_out, x[:1].expand(3, 5) if "expanded" in layout else x)
    assert laid_out.is_contiguous() is (layout == "contiguous")


@pytest.mark.parametrize(
    "key",
    [
        ("rmsnorm", "weight_gradient"),
        ("layernorm", "weight_gradients"),
        ("matmul", "accumulation"),
        ("flash_attention", "accumulation"),
    ],
    ids=".".join,
)
def test_what_must_be_rounded_once_is_exact_in_float32(key: tuple[str, str]) -> None:
    """Else the order of a sum would decide how it is rounded, and right work would fail."""
    for index in range(CASES[key].hidden):
        steps = CASES[key](Draw("exact", (TABLE.slug, *key), index))
        next(steps)
        expected = steps.send(None)
        assert isinstance(expected, Expect)
        wants = expected.want if isinstance(expected.want, tuple) else (expected.want,)
        assert all(torch.equal(want, want.float().double()) for want in wants)


def test_sums_that_the_handout_works_out() -> None:
    whole = numpy.exp(numpy.array([1, 3, 5, 2]) - 5.0).sum()
    assert whole == pytest.approx(1.2034, abs=5e-5)
    assert pytest.approx(805e6, rel=1e-3) == 16384 * 8192 * 6
    assert pytest.approx(275e9, rel=1e-3) == 2 * 16 * 8192**2 * 128
    assert pytest.approx(1.65e9, rel=3e-3) == 8192 * 50257 * 4
    assert numpy.float16(2048) + numpy.float16(0.9) == 2048


def test_cases_are_deterministic() -> None:
    maker = CASES["matmul", "product"]
    first, second = (next(maker(Draw("same", ("x",), 0))) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.args, second.args, strict=True))  # type: ignore[union-attr]


SMALL = {"matrix_add": 24, "softmax": 40, "cross_entropy": 3, "flash_attention": 40}
"""Sizes at which the interpreter carries out a workload in a second; 16 for the others."""


@pytest.mark.parametrize("key", load_workloads(REFERENCE), ids=".".join)
def test_workloads_hold_for_the_solution(
    key: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At small sizes, and in float16: the interpreter gets products of bfloat16 wrong."""
    module = load_folder(REFERENCE, "workloads")
    monkeypatch.setattr(module, "LOW", torch.float16)
    monkeypatch.setattr(module, "FAR", 1009)
    monkeypatch.setattr(module, "VOCABULARY", 301)
    (target,) = [t for t in PROBLEMS[key[0]].targets if t.name == key[1]]
    tolerance = {**target.tolerance, "float16": target.tolerance.get("bfloat16", 1e-3)}
    steps = load_workloads(REFERENCE)[key](_draw(*key), SMALL.get(key[0], 16))
    worker = LocalWorker(vars(load_solution(REFERENCE)), {})
    seen = drive(steps, worker, check=key[1], index=0, public=False)
    assert seen.observations
    assert judge_case(seen, tolerance).cause is Cause.NONE


def test_a_workload_whose_reply_has_another_form_goes_on() -> None:
    for key, maker in load_workloads(REFERENCE).items():
        if key != ("matrix_add", "large_offsets"):  # 4 GB
            steps = maker(_draw(*key), SMALL.get(key[0], 16))
            worker = LocalWorker({name: lambda *_, **__: None for name in EXPORTS[key[0]]}, {})
            seen = drive(steps, worker, check=key[1], index=0, public=False)
            assert judge_case(seen, {}).cause is Cause.WRONG_VALUE
