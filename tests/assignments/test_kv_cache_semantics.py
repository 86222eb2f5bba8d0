"""The assignment `kv_cache`: who passes, who fails, and whether the oracle itself is right."""

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from grader.assignment.declare import load_harness, load_workloads
from grader.assignment.table import Problem, load_assignment
from grader.author import Draw, load_cases, load_folder
from grader.correctness.drive import drive
from grader.judge.judgement import Cause
from grader.student.local_worker import LocalWorker
from grader.student.verdict import judge_case

ROOT = Path(__file__).resolve().parents[2]
ASSIGNMENT = ROOT / "assignments" / "kv_cache"
REFERENCE = ROOT / "reference" / "kv_cache"

TABLE = load_assignment(ASSIGNMENT)
CASES = load_cases(REFERENCE)
ORACLE = load_folder(REFERENCE, "oracle")
INPUTS = load_folder(REFERENCE, "inputs")
SOLUTION = (REFERENCE / "solution.py").read_text(encoding="utf-8")
RIGHT = sorted((REFERENCE / "right").glob("*.py"))
GREEDY = [
    ("cat_per_token", "KVCache"),
    ("grows_by_one", "KVCache"),
    ("stores_twice", "KVCache"),
    ("repeats_heads", "decode_attention"),
    ("recomputes_prefix", "generate"),
    ("dequantises_everything", "QuantizedKVCache"),
]

TRIVIAL = [
    ("cache_of_zeros", "KVCache"),
    ("cache_stored_in_half", "KVCache"),
    ("cache_returns_stale_keys", "KVCache"),
    ("cache_off_by_one", "KVCache"),
    ("attention_mean_of_values", "decode_attention"),
    ("attention_returns_query", "decode_attention"),
    ("attention_in_half", "decode_attention"),
    ("attention_accumulates_in_half", "decode_attention"),
    ("generate_in_half", "generate"),
    ("generate_decode_position_off_by_one", "generate"),
    ("window_mask_hides_own_token", "SlidingWindowCache"),
    ("quantised_keys_through_half", "QuantizedKVCache"),
    ("bytes_batch_rounded_up", "kv_bytes"),
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep threads from contending over tensors of a few numbers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def _harness() -> dict[str, Any]:
    return dict(load_harness(ASSIGNMENT, "kv_cache_harness"))


def _namespace(text: str, name: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {"__name__": name}
    exec(compile(text, name, "exec"), namespace)
    return namespace


def _problem(name: str) -> Problem:
    return next(problem for problem in TABLE.problems if problem.name == name)


def _failures(
    namespace: dict[str, Any], problem: Problem, *, seed: str = "secret"
) -> dict[str, Cause]:
    """Return the checks of a problem that fail, each with its first cause."""
    failed: dict[str, Cause] = {}
    for check in problem.checks:
        maker = CASES[problem.name, check.name]
        for index in range(maker.hidden):
            draw = Draw(seed, (TABLE.slug, problem.name, check.name), index)
            worker = LocalWorker(namespace, _harness())
            seen = drive(maker(draw), worker, check=check.name, index=index, public=False)
            verdict = judge_case(seen, check.tolerance)
            if verdict.cause is not Cause.NONE:
                failed.setdefault(check.name, verdict.cause)
    return failed


def _all_failures(namespace: dict[str, Any]) -> dict[str, Cause]:
    return {
        f"{problem.name}.{name}": cause
        for problem in TABLE.problems
        for name, cause in _failures(namespace, problem).items()
    }


def test_correctness_is_worth_100_points_and_performance_60() -> None:
    checks = [check for problem in TABLE.problems for check in problem.checks]
    targets = [target for problem in TABLE.problems for target in problem.targets]
    assert sum(check.points for check in checks) == 100
    assert sum(target.points for target in targets) == 60


def test_every_check_has_a_case_and_every_target_a_workload() -> None:
    checks = {(problem.name, check.name) for problem in TABLE.problems for check in problem.checks}
    targets = {(p.name, target.name) for p in TABLE.problems for target in p.targets}
    assert checks == set(CASES)
    assert targets == set(load_workloads(REFERENCE))


def test_solution_passes_everything() -> None:
    assert _all_failures(_namespace(SOLUTION, "solution")) == {}


@pytest.mark.parametrize("path", RIGHT, ids=lambda path: path.stem)
def test_other_styles_pass_everything(path: Path) -> None:
    assert len(RIGHT) >= 3
    assert _all_failures(_namespace(path.read_text(encoding="utf-8"), path.stem)) == {}


@pytest.mark.parametrize(("greedy", "problem"), GREEDY, ids=[name for name, _ in GREEDY])
def test_greedy_ones_are_right(greedy: str, problem: str) -> None:
    text = (REFERENCE / "wrong" / f"{greedy}.py").read_text(encoding="utf-8")
    caught_by = text.split('caught_by = "')[1].split('"')[0].split(".")[1]
    assert caught_by in {target.name for target in _problem(problem).targets}
    assert _failures(_namespace(f"{SOLUTION}\n\n{text}", greedy), _problem(problem)) == {}


def test_untouched_starter_is_missing_everywhere() -> None:
    starter = _namespace((ASSIGNMENT / "starter.py").read_text(encoding="utf-8"), "starter")
    failed = _all_failures(starter)
    assert len(failed) == len(CASES)
    assert set(failed.values()) == {Cause.MISSING}


@pytest.mark.parametrize(("wrong", "problem"), TRIVIAL, ids=[name for name, _ in TRIVIAL])
def test_shortcuts_fail(wrong: str, problem: str) -> None:
    text = (REFERENCE / "wrong" / f"{wrong}.py").read_text(encoding="utf-8")
    failed = _failures(_namespace(f"{SOLUTION}\n\n{text}", wrong), _problem(problem))
    caught_by = text.split('caught_by = "')[1].split('"')[0].split(".")[1]
    assert failed.get(caught_by) is Cause.WRONG_VALUE


@pytest.mark.parametrize("count", [1, 4, 9])
def test_oracle_attention_agrees_with_torch_in_float64(count: int) -> None:
    draw = Draw("cross-check", ("attention",), count)
    k, v = INPUTS.strided_pair(draw, 2, 3, 9, 8, dtype=torch.float64)
    q = draw.normal_tensor(2, 6, count, 8, dtype=torch.float64)
    got = ORACLE.attention(q, k, v, torch.tensor([9, 9]), 0.4)
    mask = torch.ones(count, 9, dtype=torch.bool).tril(9 - count)
    keys, values = (x.repeat_interleave(2, dim=1) for x in (k, v))
    want = scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=0.4)
    assert torch.allclose(got, want, rtol=0, atol=1e-14)


def test_oracle_attention_of_rows_that_see_nothing_is_zero() -> None:
    draw = Draw("cross-check", ("empty",), 0)
    k, v = INPUTS.strided_pair(draw, 2, 1, 5, 4)
    q = draw.normal_tensor(2, 1, 3, 4)
    got = ORACLE.attention(q, k, v, torch.tensor([0, 2]))
    assert torch.equal(got[0], torch.zeros(1, 3, 4))
    assert torch.equal(got[1, :, 0], torch.zeros(1, 4))
    assert torch.equal(got[1, 0, 1], v[1, 0, 0])


def test_oracle_rotation_is_multiplication_by_a_complex_number() -> None:
    x = Draw("cross-check", ("rotation",), 0).normal_tensor(1, 1, 5, 6, dtype=torch.float64)
    positions = torch.tensor([0, 1, 7, 100, 4096])
    got = ORACLE.rotate(x, positions, 100.0)
    turns = positions.double()[:, None] * 100.0 ** (-torch.arange(3).double() / 3)
    want = torch.complex(x[..., :3], x[..., 3:]) * torch.polar(torch.ones_like(turns), turns)
    assert torch.allclose(got, torch.cat((want.real, want.imag), dim=-1), rtol=0, atol=1e-12)
    example = ORACLE.rotate(torch.tensor([[[[1.0, 0.0, 0.0, 1.0]]]]), torch.tensor([3]), 100.0)
    hand_computed = [math.cos(3), -math.sin(0.3), math.sin(3), math.cos(0.3)]
    assert example.flatten().tolist() == pytest.approx(hand_computed)


def test_oracle_ring_follows_the_handout() -> None:
    assert ORACLE.ring_contents(5, 4, 2) == [0, 1, 2, 3, 4]
    assert ORACLE.ring_contents(7, 4, 2) == [0, 1, 6, 3, 4, 5]
    assert ORACLE.ring_contents(9, 4, 2) == [0, 1, 6, 7, 8, 5]


def test_oracle_quantisation_keeps_its_bound() -> None:
    x = Draw("cross-check", ("int8",), 0).normal_tensor(2, 3, 50, 33) * 1e3
    error = (ORACLE.dequantised(x) - x.double()).abs().amax(dim=-1)
    assert bool((error <= x.double().abs().amax(dim=-1) / 254 * (1 + 1e-6)).all())


def _handout_sizes() -> Iterator[tuple[dict[str, int], int, int, int]]:
    llama = {"n_layers": 32, "n_query_heads": 32, "head_dim": 128}
    yield {**llama, "n_kv_heads": 32}, 2, 1, 524_288
    yield {**llama, "n_kv_heads": 8}, 2, 4096, 512 << 20
    yield {**llama, "n_kv_heads": 8}, 1, 1, 67_584


def test_sizes_in_the_handout_are_the_oracles() -> None:
    for config, itemsize, length, want in _handout_sizes():
        assert ORACLE.cache_bytes(config, itemsize, 1, length) == want


def test_cases_are_deterministic() -> None:
    maker = CASES["generate", "end_of_sequence"]
    first, second = (next(maker(Draw("same", ("x",), 1))) for _ in range(2))
    weights = (first.args[0], second.args[0])  # type: ignore[union-attr]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
