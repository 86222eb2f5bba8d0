"""The assignment `ddp_zero`: copies agree, the oracle is right, workloads say their theory."""

import importlib.util
import itertools
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from grader.assignment.declare import load_workloads
from grader.assignment.table import load_assignment
from grader.assignment.target import Quantity
from grader.author import Draw, Ref, load_folder

ROOT = Path(__file__).resolve().parents[2]
ASSIGNMENT = ROOT / "assignments" / "ddp_zero"
REFERENCE = ROOT / "reference" / "ddp_zero"

TABLE = load_assignment(ASSIGNMENT)
ORACLE = load_folder(REFERENCE, "oracle")
MODULES = load_folder(ASSIGNMENT / "harness", "modules")
TOWERS = load_folder(REFERENCE, "towers")
SOLUTION = load_folder(REFERENCE, "solution")
WORKLOADS = load_workloads(REFERENCE)


def text_between(path: Path, first: str, last: str) -> str:
    text = path.read_text(encoding="utf-8")
    return text[text.index(first) : text.index(last)]


def starter() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ddp_zero_starter", ASSIGNMENT / "starter.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_solution_uses_the_reduce_scatter_that_students_get() -> None:
    marks = ("    rank, world = dist.get_rank()", "        shard_S += incoming\n")
    assert text_between(ASSIGNMENT / "starter.py", *marks) == text_between(
        REFERENCE / "solution.py", *marks
    )
    assert callable(starter().reduce_scatter)


def test_one_process_steps_as_a_loop_by_hand_does() -> None:
    model = MODULES.Sheet([torch.tensor([0.5, -1.0]), torch.tensor(2.0)], frozen=[1])
    options = {"lr": 0.1, "betas": (0.5, 0.9), "eps": 0.01, "weight_decay": 0.2}
    single = ORACLE.OneProcess(model, adamw=options)
    batches = [(torch.tensor([[1.0, 2.0]]),), (torch.tensor([[3.0, -1.0]]),)]
    single.backward(batches)
    weight = torch.tensor([0.5, -1.0], dtype=torch.float64)
    gradient = sum(
        ((x.double() @ weight / 2**0.5 - 1)[:, None] * x.double() / 2**0.5).mean(dim=0) / 2
        for (x,) in batches
    )
    assert isinstance(gradient, torch.Tensor)
    torch.testing.assert_close(single.gradients()[0], gradient.float())
    single.update()
    # One step: m / (1 - beta1) is g, v / (1 - beta2) is g squared.
    want = weight * (1 - 0.1 * 0.2) - 0.1 * gradient / (gradient.abs() + 0.01)
    torch.testing.assert_close(single.weights()[0], want.float())
    torch.testing.assert_close(single.weights()[1], torch.tensor(2.0))


def test_a_loaded_state_replaces_what_the_oracle_had() -> None:
    # Parameter 1 had a state of its own; the saved one does not know it.
    values = [torch.tensor([0.5, -1.0]), torch.tensor([2.0])]
    options = {"lr": 0.1, "betas": (0.5, 0.9), "eps": 0.01, "weight_decay": 0.2}
    saver, loader = (ORACLE.OneProcess(MODULES.Sheet(values), adamw=options) for _ in range(2))
    batch = [(torch.tensor([[1.0, 2.0]]),)]
    saver.backward(batch, [{"used": [0]}])
    saver.update()
    for _ in range(2):
        loader.backward(batch)
        loader.update()
    saved = saver.saved()
    loader.load_state(saved)
    assert list(loader.saved()["state"]) == [0]
    loader.backward(batch)
    loader.update()
    state = loader.saved()["state"]
    assert (state[0]["step"], state[1]["step"]) == (2, 1)
    torch.testing.assert_close(saved["state"][0]["exp_avg"], saver.saved()["state"][0]["exp_avg"])


def test_a_sheet_counts_on_in_its_submodule_and_keeps_gaps() -> None:
    gaps = torch.arange(6.0).view(2, 3)[:, ::2]
    sheet = MODULES.Sheet([torch.ones(2)], buffers=[gaps], inner={"values": [torch.ones(2), gaps]})
    assert sheet.count == 3
    assert sheet.b0.stride() == sheet.inner.p1.stride() == (3, 2)
    x_BK = torch.tensor([[1.0, 2.0]])
    alone = [sheet(x_BK, [number]) for number in range(3)]
    torch.testing.assert_close(sheet(x_BK), sum(alone))


def test_a_tower_needs_every_matrix_in_the_backward_pass() -> None:
    # Else a correct FSDP would gather once instead of twice, below the theory of its traffic.
    tower = MODULES.Tower(torch.ones(12), n_layers=2, width=4)
    seen: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        seen.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        tower(torch.ones(2, 4)).mean().backward()
    kept = [tensor.data_ptr() for tensor in seen]
    assert all(layer.weight.data_ptr() in kept for layer in tower.layers)


def test_every_gradient_of_a_tower_depends_on_every_other_matrix() -> None:
    # Else a rank could follow what is compared alone, and hold and send nothing else.
    width, n_layers = 6, 4
    draw = torch.Generator().manual_seed(1)
    base = torch.randn((n_layers + 1) * width, generator=draw)
    x = torch.randn(5, width, generator=draw)

    def gradients(changed: int) -> list[torch.Tensor]:
        tower = MODULES.Tower(base, n_layers=n_layers, width=width)
        if changed >= 0:
            with torch.no_grad():
                tower.layers[changed].weight[2, 3] += 1.0
        tower(x).mean().backward()
        return [layer.weight.grad for layer in tower.layers]

    honest = gradients(-1)
    for changed in range(n_layers):
        pairs = enumerate(zip(honest, gradients(changed), strict=True))
        others = [pair for number, pair in pairs if number != changed]
        assert all((before != after).any(dim=1).all() for before, after in others)


@pytest.mark.parametrize(("world", "width"), [(2, 512), (3, 256), (3, 512)])
def test_factors_of_gradients_are_a_quarter_of_them(world: int, width: int) -> None:
    # A matrix of rank r is 2 r W numbers.
    tower = TOWERS.TowerOnRanks(
        ref=Ref(0), world=world, n_layers=1, width=width, base=torch.zeros(1), numbers=[]
    )
    batches = tower.batches(Draw("seed", ("a",), 0))
    assert 2 * sum(len(batch) for batch in batches) * width >= width * width / 4


def test_both_sides_of_a_pair_share_one_computation() -> None:
    calls = []

    def compute() -> list[torch.Tensor]:
        calls.append(1)
        return [torch.zeros(1)]

    one, other = torch.ones(3), torch.full((3,), 2.0)
    for inputs in ([one], [one.clone()], [other], [other]):
        TOWERS.once(inputs, compute)
    assert len(calls) == 2


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_the_oracle_clips_as_torch_does_on_one_process(max_norm: float) -> None:
    shards = [[torch.tensor([3.0, 4.0])], [torch.tensor([12.0]), torch.zeros(0)]]
    norm, after = ORACLE.clipped(shards, max_norm)
    assert norm.item() == 13.0
    whole = nn.Parameter(torch.zeros(3))
    whole.grad = torch.tensor([3.0, 4.0, 12.0])
    torch.nn.utils.clip_grad_norm_([whole], max_norm)
    got = torch.cat([shard for rank in after for shard in rank])
    torch.testing.assert_close(got, whole.grad, rtol=1e-5, atol=0)


def test_runs_are_of_one_dtype_and_fit_the_limit() -> None:
    sizes = [3, 1, 9, 2, 2, 5]
    dtypes = itertools.cycle([torch.float32, torch.float64])
    params = [nn.Parameter(torch.zeros(n, dtype=d)) for n, d in zip(sizes, dtypes, strict=False)]
    runs = SOLUTION._cut(params, 24)
    assert sorted(id(p) for run in runs for p in run) == sorted(id(p) for p in params)
    assert all(len({p.dtype for p in run}) == 1 for run in runs)
    assert all(len(run) == 1 or sum(p.nbytes for p in run) <= 24 for run in runs)


def test_every_target_on_the_wire_says_its_theory() -> None:
    named = {
        (problem.name, target.name)
        for problem in TABLE.problems
        for target in problem.targets
        if target.quantity is Quantity.TRAFFIC
    }
    assert len(named) == 5
    assert named <= WORKLOADS.keys()


def test_weights_are_as_published() -> None:
    points = {p.name: sum(check.points for check in p.checks) for p in TABLE.problems}
    assert sum(points.values()) == 74
    assert TABLE.points - sum(points.values()) == 43
    assert all(problem.ranks == 4 for problem in TABLE.problems)
