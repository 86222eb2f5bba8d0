"""The assignment `paged_attention`: who passes, who fails, whether the oracle itself is right."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from grader.assignment.declare import load_workloads
from grader.author import Draw, SequenceMaker, load_folder
from grader.correctness.instances import failed
from grader.evidence.observations import CaseMeasurement
from grader.judge.judgement import Cause
from tests.assignments.paged_worker import (
    ASSIGNMENT,
    CASES,
    REFERENCE,
    SOLUTION,
    TABLE,
    failures,
    harness,
    namespace,
    run_case,
    wrong,
)

ORACLE = load_folder(REFERENCE, "oracle")
MODELS = load_folder(REFERENCE, "models")
INPUTS = load_folder(REFERENCE, "inputs")
RIGHT = sorted((REFERENCE / "right").glob("*.py"))
WRONG = sorted((REFERENCE / "wrong").glob("*.py"))
LONGEST = 8
"""Operations to which every planted bug of the allocator must come down."""


def _caught_by(path: Path) -> tuple[str, str]:
    problem, check = re.findall(r'caught_by = "(\w+)\.(\w+)"', path.read_text(encoding="utf-8"))[0]
    return problem, check


TARGETS = {(problem.name, target.name) for problem in TABLE.problems for target in problem.targets}
GREEDY = [path.stem for path in WRONG if _caught_by(path) in TARGETS]
PLANTED = [
    path.stem
    for path in WRONG
    if path.stem.startswith("allocator")
    and path.stem not in GREEDY
    and isinstance(CASES[_caught_by(path)], SequenceMaker)
]
SHORTCUTS = [
    "decode_length_off_by_one",
    "decode_accumulates_in_half",
    "decode_value_tail_unmasked",
    "split_averages",
    "split_minus_infinity_from_itself",
    "prefill_mask_top_left",
    "prefill_accumulates_in_half",
    "write_padding_into_block_zero",
    "prefix_hash_without_parent",
    "prefix_stale_hash",
    "fork_copies_for_the_child_only",
    "scheduler_leaks_preempted_blocks",
    "scheduler_loses_the_order",
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep threads from contending over tensors of a few numbers."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_correctness_is_worth_100_points_and_performance_60() -> None:
    checks = [check for problem in TABLE.problems for check in problem.checks]
    targets = [target for problem in TABLE.problems for target in problem.targets]
    assert sum(check.points for check in checks) == 100
    assert sum(target.points for target in targets) == 60


def test_every_check_has_a_case_and_every_target_a_workload() -> None:
    checks = {(problem.name, check.name) for problem in TABLE.problems for check in problem.checks}
    assert checks == set(CASES)
    assert set(load_workloads(REFERENCE)) == TARGETS


@pytest.mark.parametrize("seed", ["secret", "another"])
def test_solution_passes_everything(seed: str) -> None:
    assert failures(namespace(SOLUTION, "solution"), seed=seed) == {}


@pytest.mark.parametrize(
    "problem", ["write_kv", "paged_decode", "split_kv_decode", "paged_prefill"]
)
def test_the_solutions_kernels_pass_everything(problem: str) -> None:
    names = namespace(SOLUTION, "solution_by_kernel")
    asked = []

    def by_kernel(x: torch.Tensor) -> bool:
        """As on a device."""
        asked.append(x)
        return True

    names["_by_kernel"] = by_kernel
    assert failures(names, problem=problem) == {}
    assert asked


@pytest.mark.parametrize("path", RIGHT, ids=lambda path: path.stem)
def test_other_styles_pass_everything(path: Path) -> None:
    assert len(RIGHT) >= 3
    assert failures(namespace(path.read_text(encoding="utf-8"), path.stem)) == {}


@pytest.mark.parametrize("name", GREEDY)
def test_greedy_ones_are_right(name: str) -> None:
    problem, _ = _caught_by(REFERENCE / "wrong" / f"{name}.py")
    assert failures(wrong(name), problem=problem) == {}


def test_untouched_starter_is_missing_everywhere() -> None:
    starter = namespace((ASSIGNMENT / "starter.py").read_text(encoding="utf-8"), "starter")
    failed_checks = failures(starter)
    assert len(failed_checks) == len(CASES)
    assert set(failed_checks.values()) == {Cause.MISSING}


@pytest.mark.parametrize("name", SHORTCUTS)
def test_shortcuts_fail(name: str) -> None:
    problem, check = _caught_by(REFERENCE / "wrong" / f"{name}.py")
    assert failures(wrong(name), problem=problem).get(f"{problem}.{check}") is Cause.WRONG_VALUE


def _operations(case: CaseMeasurement) -> list[str]:
    """Return what the report names as the shortest failing sequence, its `New` left out."""
    words = [one.label for one in case.observations] + [fault.message for fault in case.faults]
    (text,) = [word for word in words if "shortest failing sequence found" in word]
    return text.split("found: ")[1].removesuffix(")").split("; ")[1:]


@pytest.mark.parametrize("name", PLANTED)
def test_planted_bugs_come_down_to_a_few_operations(name: str) -> None:
    key = _caught_by(REFERENCE / "wrong" / f"{name}.py")
    cases = [run_case(wrong(name), key, index) for index in range(CASES[key].hidden)]
    found = [_operations(case) for case in cases if failed(case)]
    assert found
    assert max(len(operations) for operations in found) <= LONGEST


def test_a_planted_bug_is_shown_as_a_student_would_write_it() -> None:
    case = run_case(wrong("allocator_partial_allocation"), ("BlockAllocator", "exhaustion"), 0)
    assert _operations(case) == ["allocate(2)"]
    assert any("n_free, 1 by the model, " in one.label for one in case.observations)


def test_sequences_are_the_same_for_everybody() -> None:
    for maker in CASES.values():
        if isinstance(maker, SequenceMaker):
            first, second = (maker.draw_sequence(Draw("same", ("x",), 1)) for _ in range(2))
            assert first == second


def _pages(*, count: int) -> tuple[object, torch.Tensor]:
    draw = Draw("cross-check", ("pages",), count)
    layout = INPUTS.Layout(page_size=4, dtype=torch.float64, dead=math.nan)
    return INPUTS.draw_pages(draw, [11], layout), draw.normal_tensor(count, 6, 8).double()


@pytest.mark.parametrize("count", [1, 4, 11])
def test_oracle_agrees_with_torch_in_float64(count: int) -> None:
    pages, q = _pages(count=count)
    args = (pages.caches, pages.table, pages.lengths)  # type: ignore[attr-defined]
    k, v = (ORACLE.sequence_tokens(x, args[1][0], 11).transpose(0, 1) for x in args[0])
    mask = torch.ones(count, 11, dtype=torch.bool).tril(11 - count)
    keys, values = (x.repeat_interleave(3, dim=0)[None] for x in (k, v))
    query = q.transpose(0, 1)[None]
    want = scaled_dot_product_attention(query, keys, values, attn_mask=mask)[0].transpose(0, 1)
    got = ORACLE.paged_prefill(q, [0, count], *args)
    assert torch.allclose(got, want, rtol=0, atol=1e-13)
    if count == 1:
        decoded, _ = ORACLE.paged_decode(q, *args, None)
        assert torch.allclose(decoded, want, rtol=0, atol=1e-13)


def test_oracle_of_a_merge_is_attention_over_all_tokens() -> None:
    draw = Draw("cross-check", ("merge",), 0)
    q, k, v = (draw.normal_tensor(n, 2, 8) for n in (1, 9, 9))
    whole = ORACLE.attend(q, k, v, None, first=9)
    parts = [
        ORACLE.attend(q, k[a:b], v[a:b], None, first=b - a) for a, b in ((0, 2), (2, 2), (2, 9))
    ]
    o, lse = (torch.stack([part[n].float() for part in parts]) for n in (0, 1))
    merged = ORACLE.merge(o, lse)
    assert torch.allclose(merged[0].double(), whole[0], atol=1e-6)
    assert torch.allclose(merged[1].double(), whole[1], atol=1e-6)
    nothing = ORACLE.merge(o[1:2], lse[1:2])
    assert nothing[0].abs().max() == 0
    assert bool((nothing[1] == -math.inf).all())


@given(
    parent=st.integers(0, 99),
    tokens=st.lists(st.integers(0, 99)),
    modulus=st.sampled_from([1, 3, (1 << 61) - 1]),
)
def test_oracle_hash_is_that_of_the_harness(parent: int, tokens: list[int], modulus: int) -> None:
    given_hash = harness()["TableHash"](modulus)(parent, tuple(tokens))
    assert ORACLE.table_hash(parent, tuple(tokens), modulus) == given_hash


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=30))
def test_the_models_counts_add_up(steps: list[tuple[int, int]]) -> None:
    model = MODELS.PrefixModel(6, 2, lambda parent, tokens: (5 * parent + sum(tokens)) % 7)
    tables: list[list[int]] = []
    for number, family in steps:
        tokens = [family] * (number + 1)
        if number % 3 == 2 and tables:
            model.release(tables.pop())
        elif model.fits(tokens):
            table, cached = model.allocate(tokens)
            assert cached < len(tokens)
            assert len(set(table)) == len(table) == -(-len(tokens) // 2)
            tables.append(table)
        held = [block for table in tables for block in table]
        assert model.blocks.holders == [held.count(block) for block in range(6)]
        assert sorted({*held, *model.blocks.queue}) == list(range(6))
        assert len({entry.hash for entry in model.entries}) == len(model.entries)


def test_the_handouts_schedule_is_the_models() -> None:
    model = MODELS.SchedulerModel(n_blocks=4, size=2, max_running=3)
    for number, prompt in enumerate(([10, 11, 12], [20, 21], [30])):
        model.add(number, prompt, 4)
    plans = []
    for _ in range(5):
        plan = model.step()
        plans.append((plan["admitted"], plan["decoded"], plan["preempted"], model.n_free))
        model.commit([[one.number, 9] for one in model.running])
    assert plans == [
        ([0, 1, 2], [], [], 0),
        ([], [0, 1], [2], 0),
        ([], [0], [1], 1),
        ([], [0], [], 1),
        ([1, 2], [], [], 1),
    ]
