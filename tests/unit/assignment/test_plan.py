"""Plans are pure; folders hash by content and name."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.assignment.declare import CaseMaker, workload
from grader.assignment.loaded import load_assignment_with_reference, new_seed
from grader.assignment.plan import hash_folder, make_plan
from grader.assignment.table import Evidence, load_assignment
from grader.assignment.target import CheckKind, Clock, NoDevice, Quantity, Tier
from grader.errors import AuthorError
from tests.unit.assignment.test_table import GOOD, write
from tests.unit.report.sample_plan import make_plan as make_sample_plan


def make(draw):
    """Chunks of any size.

    Both must agree.
    """
    yield draw


KEYS = (("Cache", "append"), ("Cache", "rollback"), ("attend", "append"))


def makers(*keys):
    return {
        (problem, check): CaseMaker(problem=problem, check=check, public=1, hidden=3, make=make)
        for problem, check in keys
    }


@pytest.fixture
def assignment(tmp_path):
    return load_assignment(write(tmp_path, GOOD))


def measure(draw, size):
    """Of any size."""
    yield size


def speed(*sizes):
    return {("attend", "speed"): workload("attend", "speed", sizes=sizes)(measure)}


def plan_of(assignment, cases, seed="s", workloads=None, device="cpu"):
    return make_plan(
        assignment,
        cases=cases,
        workloads=speed(8, 16) if workloads is None else workloads,
        device=device,
        seed=seed,
        assignment_sha256="a",
        reference_sha256="b",
    )


def test_a_plan_joins_targets_and_workloads(assignment):
    (target,) = plan_of(assignment, makers(*KEYS)).problems[1].targets
    assert (target.name, target.sizes, target.description) == ("speed", (8, 16), "Of any size.")
    assert target.tiers[0].pass_at == 0.5
    assert "cpu" in target.devices
    assert list(target.devices) == sorted(target.devices)
    (target,) = plan_of(assignment, makers(*KEYS), device="cuda:t4").problems[1].targets
    assert target.tiers[0].pass_at == 0.6


def test_without_a_tier_points_stay_open_or_are_left_out(assignment):
    attend = assignment.problems[1]
    only_cpu = replace(attend.targets[0], tiers={"cpu": attend.targets[0].tiers["cpu"]})

    def points(target):
        other = replace(attend, targets=(target,))
        mine = replace(assignment, problems=(assignment.problems[0], other))
        return plan_of(mine, makers(*KEYS), device="cuda:t4").points

    assert points(only_cpu) == 15.5
    assert points(replace(only_cpu, no_device=NoDevice.LEAVE_OUT)) == 12.5


@pytest.mark.parametrize("device", ["cpu", "cuda:h200"])
def test_device_targets_leave_the_maximum_on_every_machine(assignment, device):
    attend = assignment.problems[1]
    tiers = {"cuda:*": attend.targets[0].tiers["cuda:*"]}
    for_gpus = replace(attend, targets=(replace(attend.targets[0], tiers=tiers),))
    problems = (assignment.problems[0], for_gpus)
    asked, unasked = (
        replace(assignment, problems=problems, without_device_targets=wanted)
        for wanted in (True, False)
    )
    with_them, without = (plan_of(one, makers(*KEYS), device=device) for one in (unasked, asked))
    assert (with_them.points, with_them.left_out_points) == (15.5, 0.0)
    assert (without.points, without.left_out_points) == (12.5, 3.0)
    assert without.sha256 != with_them.sha256
    kept = plan_of(replace(assignment, without_device_targets=True), makers(*KEYS), device=device)
    assert kept.points == 15.5  # it has a tier for the processor


def test_a_plan_publishes_what_a_failed_edge_check_costs(assignment):
    cache, attend = assignment.problems
    checks = (cache.checks[0], replace(cache.checks[1], kind=CheckKind.EDGE))
    mine = replace(assignment, problems=(replace(cache, checks=checks), attend))
    planned = plan_of(mine, makers(*KEYS)).problems[0].checks
    assert [(c.kind, c.share) for c in planned] == [
        (CheckKind.ESSENTIAL, 1.0),
        (CheckKind.EDGE, 4.5 / 10.5),
    ]


@pytest.mark.parametrize("device", ["cuda:h200", "cuda:*"])
def test_on_a_device_wall_time_always_decides(assignment, device):
    attend = assignment.problems[1]
    tiers = {"cpu": Tier(pass_at=1.5, full_at=1.1), "cuda:*": Tier(pass_at=2.0, full_at=1.1)}
    target = replace(attend.targets[0], quantity=Quantity.TIME, clock=Clock.CPU, tiers=tiers)
    problems = (assignment.problems[0], replace(attend, targets=(target,)))
    mine = replace(assignment, problems=problems)
    for where, clock in ((device, Clock.WALL), ("cpu", Clock.CPU)):
        plan = plan_of(mine, makers(*KEYS), workloads=speed(8), device=where)
        assert plan.problems[1].targets[0].clock is clock


@pytest.mark.parametrize(
    ("device", "evidence", "pass_at"),
    [
        ("cpu", Evidence.OUTSIDE, 1.5),
        ("cuda:h200", Evidence.DENIED, 2.0),
        ("cuda:*", Evidence.DENIED, 2.0),
    ],
)
def test_device_memory_is_withheld_and_main_memory_is_measured(
    assignment, device, evidence, pass_at
):
    attend = assignment.problems[1]
    tiers = {"cpu": Tier(pass_at=1.5, full_at=1.1), "cuda:*": Tier(pass_at=2.0, full_at=1.1)}
    target = replace(attend.targets[0], quantity=Quantity.MEMORY, tiers=tiers)
    mine = replace(
        assignment, problems=(assignment.problems[0], replace(attend, targets=(target,)))
    )
    plan = plan_of(mine, makers(*KEYS), workloads=speed(8), device=device)
    (planned,) = plan.problems[1].targets
    assert planned.evidence is evidence
    assert [tier.pass_at for tier in planned.tiers] == [pass_at]


def test_ranks_have_the_tiers_of_the_cpu_on_every_machine(assignment):
    attend = assignment.problems[1]
    tiers = {"cpu": Tier(pass_at=1.5, full_at=1.1), "cuda:*": Tier(pass_at=2.0, full_at=1.1)}
    target = replace(attend.targets[0], quantity=Quantity.MEMORY, clock=Clock.CPU, tiers=tiers)
    ranked = replace(attend, targets=(target,), ranks=2)
    mine = replace(assignment, problems=(assignment.problems[0], ranked))
    plan = plan_of(mine, makers(*KEYS), workloads=speed(8), device="cuda:h200")
    (planned,) = plan.problems[1].targets
    assert [tier.pass_at for tier in planned.tiers] == [1.5]
    assert (planned.clock, planned.evidence) == (Clock.CPU, Evidence.OUTSIDE)


@pytest.mark.parametrize(
    ("workloads", "words"),
    [
        ({}, "attend.speed has no workload"),
        (speed(8), "growth needs several sizes"),
        (speed(8, 16) | {("attend", "x"): None}, "workloads without a target: attend.x"),
    ],
)
def test_a_target_without_its_workload_is_the_authors_mistake(assignment, workloads, words):
    with pytest.raises(AuthorError, match=words):
        plan_of(assignment, makers(*KEYS), workloads=workloads)


@pytest.mark.parametrize("sizes", [(), (0, 1), (8, 8), (16, 8)])
def test_sizes_ascend(sizes):
    with pytest.raises(AuthorError, match="sizes"):
        workload("attend", "speed", sizes=sizes)


def test_a_plan_joins_checks_and_cases(assignment):
    plan = plan_of(assignment, makers(*KEYS))
    assert [(p.name, c.name) for p in plan.problems for c in p.checks] == list(KEYS)
    check = plan.problems[0].checks[0]
    assert (check.points, check.public, check.hidden) == (6.0, 1, 3)
    assert check.description.startswith("Chunks of any size.")
    assert check.tolerance == {"float32": 1e-5}
    assert plan.points == assignment.points == 15.5
    assert plan.limits == assignment.limits


def test_the_same_inputs_make_the_same_plan(assignment):
    plan = plan_of(assignment, makers(*KEYS))
    again = plan_of(assignment, makers(*reversed(KEYS)))
    assert plan == again
    assert plan.sha256 == again.sha256
    assert len(plan.sha256) == 64


def test_planning_does_not_change_its_inputs(assignment):
    cases = makers(*KEYS)
    plan_of(assignment, cases)
    assert set(cases) == set(KEYS)


@pytest.mark.parametrize(
    "field", ["assignment", "title", "device", "seed", "assignment_sha256", "reference_sha256"]
)
def test_any_change_is_another_plan(field):
    plan = make_sample_plan()
    other = replace(plan, **{field: "other"})  # type: ignore[arg-type]
    assert other.sha256 != plan.sha256


def test_a_change_deep_inside_is_another_plan():
    plan = make_sample_plan()
    problem = plan.problems[0]
    for check in (
        replace(problem.checks[0], tolerance={"float32": 2e-5}),
        replace(problem.checks[0], hidden=4),
    ):
        changed = replace(problem, checks=(check, *problem.checks[1:]))
        assert replace(plan, problems=(changed, *plan.problems[1:])).sha256 != plan.sha256
    limits = replace(plan.limits, call_wall_s=9.0)
    assert replace(plan, limits=limits).sha256 != plan.sha256


def test_a_check_without_a_case(assignment):
    with pytest.raises(AuthorError, match=r"demo: check Cache\.rollback has no case") as caught:
        plan_of(assignment, makers(KEYS[0], KEYS[2]))
    assert '@case("Cache", "rollback")' in caught.value.hint


def test_cases_without_a_check(assignment):
    cases = makers(*KEYS, ("attend", "zebra"), ("Cache", "extra"))
    with pytest.raises(AuthorError, match=r"without a check: Cache\.extra, attend\.zebra"):
        plan_of(assignment, cases)


def test_folders_hash_by_name_and_content(tmp_path):
    def folder(name, **files):
        root = tmp_path / name
        for path, content in files.items():
            target = root / path.replace("__", "/").replace("_py", ".py")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
        return hash_folder(root)

    one = folder("one", a_py="x", sub__b_py="y")
    assert one == folder("two", sub__b_py="y", a_py="x")
    others = {
        folder("three", a_py="x", sub__b_py="z"),
        folder("four", a_py="x", b_py="y"),
        folder("five", a_py="x"),
        folder("six", a_py="xy", sub__b_py=""),
        one,
    }
    assert len(others) == 5


def test_caches_do_not_count_but_packages_do(tmp_path):
    (tmp_path / "cases.py").write_text("x")
    before = hash_folder(tmp_path)
    for cache in ("__pycache__", ".mypy_cache", ".git/deep", "sub/__pycache__"):
        (tmp_path / cache).mkdir(parents=True)
        (tmp_path / cache / "cases.cpython-311.pyc").write_bytes(b"\0")
    (tmp_path / ".hidden").write_text("x")
    assert hash_folder(tmp_path) == before
    (tmp_path / "__init__.py").write_text("")
    assert hash_folder(tmp_path) != before


@given(st.text(max_size=20), st.text(max_size=20))
def test_another_seed_is_another_plan(one, other):
    plan = make_sample_plan()
    left, right = replace(plan, seed=one).sha256, replace(plan, seed=other).sha256
    assert (left == right) == (one == other)


def test_seeds_are_fresh_and_long():
    seeds = {new_seed() for _ in range(50)}
    assert len(seeds) == 50
    assert all(len(bytes.fromhex(seed)) == 16 for seed in seeds)


CASES = """
from grader.author import Call, Expect, case
{cases}
"""
ONE_CASE = '''
@case("{problem}", "{check}", public=2, hidden=4)
def {problem}_{check}(draw):
    """About {check}."""
    got = yield Call("f")
    yield Expect(got, 1, label="f")
'''


ONE_WORKLOAD = """
from grader.author import workload

@workload("attend", "speed", sizes=(8, 16))
def speed(draw, size):
    yield
"""


@pytest.fixture
def folders(tmp_path):
    folder = write(tmp_path, GOOD)
    reference = tmp_path / "reference"
    reference.mkdir()
    cases = "".join(ONE_CASE.format(problem=p, check=c) for p, c in KEYS)
    (reference / "cases.py").write_text(CASES.format(cases=cases) + ONE_WORKLOAD)
    (reference / "solution.py").write_text("answer = 42\n")
    return folder, reference


def test_an_assignment_is_loaded_whole(folders):
    folder, reference = folders
    loaded = load_assignment_with_reference(folder, reference, device="cpu", seed="s")
    assert set(loaded.cases) == set(KEYS)
    assert loaded.plan.problems[0].checks[0].hidden == 4
    assert loaded.plan.assignment_sha256 == hash_folder(folder)
    assert loaded.plan.reference_sha256 == hash_folder(reference)
    assert loaded.harness == ()
    assert [file.text for file in loaded.solution] == ["answer = 42\n"]
    assert loaded.workloads["attend", "speed"].sizes == (8, 16)
    (folder / "harness.py").write_text("# größer\n", encoding="utf-8")
    again = load_assignment_with_reference(folder, reference, device="cpu", seed="s")
    assert [file.text for file in again.harness] == ["# größer\n"]
    assert again.plan.sha256 != loaded.plan.sha256


def test_device_targets_are_left_out_if_the_command_says_so(folders):
    folder, reference = folders
    toml = folder / "assignment.toml"
    cpu, cuda = "problem.target.tiers.cpu", 'problem.target.tiers."cuda:t4"'
    toml.write_text(toml.read_text().replace(cpu, cuda))
    kept, left_out = (
        load_assignment_with_reference(
            folder, reference, device="cpu", seed="s", without_device_targets=wanted
        ).plan
        for wanted in (False, True)
    )
    assert (kept.points, left_out.points, left_out.left_out_points) == (15.5, 12.5, 3.0)


def test_an_assignment_without_cases(folders):
    folder, reference = folders
    (reference / "cases.py").unlink()
    with pytest.raises(AuthorError, match=r"cases\.py: not found"):
        load_assignment_with_reference(folder, reference, device="cpu", seed="s")


def test_targets_need_a_solution_to_measure_against(folders):
    folder, reference = folders
    (reference / "solution.py").unlink()
    with pytest.raises(AuthorError, match=r"solution\.py: not found"):
        load_assignment_with_reference(folder, reference, device="cpu", seed="s")


DENIED = 'exports = ["Cache"]\ndenied = ["@compute", "aten::{}"]'


def test_what_an_assignment_denies_is_denied_in_each_problem(folders):
    folder, _ = folders
    text = GOOD.replace(
        'exports = ["Cache"]', 'exports = ["Cache"]\ndenied = ["torch.fft", "@compute"]'
    )
    (folder / "assignment.toml").write_text(f'denied = ["@compute"]\n{text}')
    cache, attend = load_assignment(folder).problems
    assert (cache.denied, attend.denied) == (("@compute", "torch.fft"), ("@compute",))


def test_denied_operators_reach_the_plan(folders):
    folder, reference = folders
    text = GOOD.replace('exports = ["Cache"]', DENIED.format("softmax"))
    (folder / "assignment.toml").write_text(text)
    cache, attend = load_assignment_with_reference(
        folder, reference, device="cpu", seed="s"
    ).plan.problems
    assert cache.denied == ("@compute", "aten::softmax")
    assert {check.evidence for check in cache.checks} == {Evidence.DENIED}
    assert attend.denied == ()


def test_a_denied_module_keeps_the_evidence_outside(folders):
    folder, reference = folders
    denied = 'exports = ["Cache"]\ndenied = ["torch.nn.parallel", "torch.nn.Linear"]'
    (folder / "assignment.toml").write_text(GOOD.replace('exports = ["Cache"]', denied))
    cache, _ = load_assignment_with_reference(
        folder, reference, device="cpu", seed="s"
    ).plan.problems
    assert cache.denied == ("torch.nn.parallel", "torch.nn.Linear")
    assert {check.evidence for check in cache.checks} == {Evidence.OUTSIDE}


@pytest.mark.parametrize("entry", ["aten::sotfmax", "torch.softmax", "torch.nn.paralel"])
def test_a_denied_name_that_torch_lacks_is_the_authors_mistake(folders, entry):
    folder, reference = folders
    text = GOOD.replace('exports = ["Cache"]', DENIED.replace("aten::{}", entry))
    (folder / "assignment.toml").write_text(text)
    with pytest.raises(
        AuthorError, match=rf'toml, line \d+: problem "Cache": denied: .*, found .{entry}'
    ):
        load_assignment_with_reference(folder, reference, device="cpu", seed="s")


@pytest.mark.parametrize("entry", ["softmax", "@everything", "torch", "aten::", ""])
def test_an_invalid_denied_name_is_the_authors_mistake(tmp_path, entry):
    text = GOOD.replace('exports = ["Cache"]', f'exports = ["Cache"]\ndenied = ["{entry}"]')
    with pytest.raises(AuthorError, match=r'toml, line \d+: problem "Cache": denied: .*, found'):
        load_assignment(write(tmp_path, text))
