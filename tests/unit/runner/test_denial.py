"""Operators are denied and restored, and a sealed child cannot restore them; what entries mean."""

import importlib
import os
import pkgutil
import re
import sys
import traceback
from pathlib import Path

import pytest
import torch
from torch import _C

from grader.runner import denial, guards
from grader.runner.denial import (
    COMPUTE,
    NOT_COMPUTE,
    Denials,
    OperationDenied,
    denied_here,
    expand,
    find_unknown,
    registered_keys,
)
from grader.runner.order import Denial
from tests.unit.runner.corpus import operators

EVERY = set(_C._dispatch_get_all_op_names())
ACTIVE = re.compile(r"^(?!debug)\w+(?:\[alias\])?: registered (?:at (\S+?):\d+|by)", re.MULTILINE)


@pytest.fixture
def denials():
    made = Denials()
    yield made
    made.install(())
    assert torch.equal(torch.ones(2) + 1, torch.full((2,), 2.0))


def in_a_child(work):
    """Run `work` in a fork and return whether it succeeded."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - also pytest's own; the status tells
            traceback.print_exc()
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_no_kernel_of_a_denied_operator_is_left(denials):
    denials.install([COMPUTE])
    assert "CompositeImplicitAutograd" in registered_keys("_test::cat")  # of the older interface
    for operator in expand([COMPUTE]):
        files = set(ACTIVE.findall(_C._dispatch_dump(operator)))
        assert files <= {denial.__file__}, operator


def test_an_operator_is_denied_and_restored(denials):
    x = torch.ones(2, 2)
    denials.install(["aten::mm"])
    with pytest.raises(OperationDenied, match="aten::mm is denied"):
        torch.mm(x, x)
    assert torch.equal(torch.bmm(x[None], x[None])[0], torch.full((2, 2), 2.0))
    denials.install(["aten::bmm"])
    assert torch.equal(torch.mm(x, x), torch.full((2, 2), 2.0))
    with pytest.raises(OperationDenied, match="aten::bmm is denied"):
        torch.bmm(x[None], x[None])
    denials.install(())
    assert torch.equal(torch.mm(x, x), torch.full((2, 2), 2.0))


def test_a_denial_for_a_while_ends_with_its_block_whatever_is_raised():
    x = torch.ones(2, 2)
    said = "aten::mm is denied in the problem matmul: a kernel of your own must compute"
    with pytest.raises(OperationDenied, match=said), denied_here("matmul", [COMPUTE]):
        torch.mm(x, x)
    assert torch.equal(torch.mm(x, x), torch.full((2, 2), 2.0))


def test_the_same_denial_is_not_installed_twice(denials, monkeypatch):
    denials.install(["aten::mm"])
    monkeypatch.setattr(Denials, "_override", lambda *_: pytest.fail("installed again"))
    denials.install(("aten::mm",))


def test_what_a_kernels_wrapper_needs_is_allowed(denials):
    denials.install([COMPUTE])
    x = torch.empty(4, 6, dtype=torch.float16)
    x.fill_(2.0)
    y = torch.zeros_like(x, dtype=torch.float32)
    y.copy_(x)
    assert y.t().reshape(-1).contiguous().shape == (24,)
    first, second = y[1:3].to(torch.float64).unbind()
    assert first.is_contiguous()
    assert second.stride() == (1,)
    assert torch.full((2, 3), 1.0)[:, None].expand(2, 4, 3).transpose(0, 1).shape == (4, 2, 3)
    assert torch.tensor([1.0, 2.0]).detach().clone().untyped_storage().nbytes() == 8
    assert torch.nn.Parameter(y).requires_grad
    assert torch.frombuffer(bytearray(8), dtype=torch.float32).view(torch.int32).numel() == 2


def test_a_sealed_child_cannot_restore(denials):
    denials.install([COMPUTE])

    def work():
        denials.seal("softmax")
        denials.install(())
        with pytest.raises(OperationDenied, match="in the problem softmax: a kernel of your own"):
            torch.ones(2).exp_()
        for reader in (torch.Tensor.numpy, torch._C.TensorBase.tolist, torch.Tensor.__array__):
            with pytest.raises(OperationDenied, match="Tensor"):
                reader(torch.empty(2))
        with pytest.raises(OperationDenied, match=r"torch\._(dynamo|inductor)"):
            torch.compile(torch.exp)
        assert not hasattr(torch._C, "_te")

    assert in_a_child(work)


def test_a_problem_in_plain_torch_may_read_numbers(denials):
    denials.install(["aten::softmax"])

    def work():
        denials.seal("softmax")
        assert (torch.ones(2) + 1).tolist() == [2.0, 2.0]
        assert torch.ones(2).numpy().sum() == 2
        with pytest.raises(OperationDenied, match="the assignment rules it out"):
            torch.nn.functional.softmax(torch.ones(2), dim=0)

    assert in_a_child(work)


def test_of_a_denied_module_nothing_is_called_and_the_rest_works(denials):
    denials.install(["torch.nn.parallel", "torch.distributed.optim", "torch.distributed.Reducer"])

    def work():
        from torch.nn.parallel import DistributedDataParallel as Before

        denials.seal("DDP")
        model = torch.nn.Linear(2, 2)
        denied = r"torch\.nn\.parallel\..*DistributedDataParallel is denied in the problem DDP"
        with pytest.raises(OperationDenied, match=denied):
            Before(model)
        with pytest.raises(OperationDenied, match="DataParallel"):
            torch.nn.DataParallel(model)
        with pytest.raises(OperationDenied, match="data_parallel"):
            torch.nn.parallel.data_parallel(model, torch.ones(2))
        with pytest.raises(OperationDenied, match=r"torch\.distributed\.Reducer is denied"):
            pkgutil.resolve_name("torch.distributed.Reducer")([], [], [], None)
        with pytest.raises(OperationDenied, match="ZeroRedundancyOptimizer"):
            sys.modules["torch.distributed.optim"].ZeroRedundancyOptimizer(model.parameters())
        del sys.modules["torch.distributed.optim"]
        denied = r"torch\.distributed\.optim is denied in the problem DDP: the assignment"
        with pytest.raises(ModuleNotFoundError, match=denied):
            importlib.import_module("torch.distributed.optim")
        denials.install(())  # to no avail: nothing is known of it any more
        with pytest.raises(OperationDenied, match="DataParallel"):
            torch.nn.DataParallel(model)
        assert not isinstance(model, Before)
        torch.optim.SGD(model.parameters(), lr=0.1).step()

    assert in_a_child(work)
    denials.install(())
    with pytest.raises(ValueError, match="init_process_group"):
        torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))


def test_a_module_that_does_not_exist_is_unknown():
    entries = ("torch.nn.parallel", "torch.distributed.Reducer", "torch.nn.paralel", "aten::mm")
    assert find_unknown(entries) == ("torch.nn.paralel",)


def test_a_child_that_is_denied_nothing_keeps_everything(denials):
    def work():
        denials.seal("")
        assert torch.ones(2).tolist() == [1.0, 1.0]
        assert hasattr(torch._C, "_te")

    assert in_a_child(work)


def test_keys_are_read_from_the_dispatchers_own_text():
    keys = registered_keys("aten::add.Tensor")
    assert {"CPU", "Meta", "SparseCPU", "Autograd"} <= set(keys)
    assert "CompositeImplicitAutograd" in registered_keys("aten::matmul")
    assert "debug" not in keys


def test_a_torch_that_words_it_in_another_way_is_refused(denials, monkeypatch):
    monkeypatch.setattr(_C, "_dispatch_dump", lambda _: "CPU => somewhere")
    with pytest.raises(OSError, match=r"cannot be denied: .* does not say where aten::mm"):
        denials.install(["aten::mm"])


def test_what_is_denied_only_in_part_is_given_back(denials, monkeypatch):
    def stops_at_mm(name):
        return registered_keys(name) if name != "aten::mm.out" else ("no key",)

    monkeypatch.setattr(denial, "registered_keys", stops_at_mm)
    with pytest.raises(OSError, match="cannot be denied"):
        denials.install(["aten::mm"])
    assert torch.equal(torch.mm(torch.ones(1, 2), torch.ones(2, 1)), torch.full((1, 1), 2.0))


@pytest.mark.parametrize(
    ("entries", "count"),
    [(("@compute",), 3), (("torch.nn.parallel", "torch.nn.Linear"), 1), ((), 0)],
)
def test_hidden_folders_are_torchs(entries, count):
    folders = guards.hidden_folders(Denial(problem="p", entries=entries))
    assert len(folders) == count
    for folder in folders:
        assert Path(folder).is_dir()


def base(operator):
    return operator.partition(".")[0]


def test_an_operator_is_its_family():
    meant = expand(["aten::softmax"])
    assert {"aten::softmax.int", "aten::_softmax", "aten::_softmax.out"} <= set(meant)
    assert {base(name) for name in meant} == {
        *("aten::softmax", "aten::_softmax", "aten::special_softmax"),
    }
    assert {base(n) for n in expand(["aten::exp"])} == {"aten::exp", "aten::exp_"}
    assert not set(expand(["aten::mm"])) & set(expand(["aten::bmm"]))


def test_a_star_matches_any_letters():
    wide = set(expand(["aten::*softmax*"]))
    assert wide > set(expand(["aten::softmax"]))
    assert any("log_softmax" in name for name in wide)


def test_compute_is_everything_that_is_not_listed():
    denied = set(expand([COMPUTE]))
    left = EVERY - denied
    assert {base(name) for name in left if name.startswith("aten::")} == NOT_COMPUTE
    assert {name.partition("::")[0] for name in left} == {"aten", "profiler"}
    assert len(denied) > 3000


@pytest.mark.parametrize(
    "name",
    "mm add.Tensor exp_ softmax.int item index.Tensor where.self tril sum".split(),
)
def test_what_solves_or_reads_is_compute(name):
    assert f"aten::{name}" in expand([COMPUTE])


def test_what_moves_numbers_is_not_compute_and_has_their_values():
    x, at = torch.arange(6.0).view(2, 3), torch.zeros(2, 3, dtype=torch.int64)
    want = {name: move(x.clone(), at) for name, move in operators.MOVES.items()}
    with denied_here("softmax", [COMPUTE]):
        assert operators.refused(x.clone(), at) == list(operators.OTHERS)
        got = {name: move(x.clone(), at) for name, move in operators.MOVES.items()}
    for name in want:
        pairs = zip(_tensors(got[name]), _tensors(want[name]), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs), name
    assert float(x.sum()) == 15.0
    assert x.tolist()[1][2] == float(x.numpy()[1, 2]) == 5.0


def _tensors(value):
    return list(value) if isinstance(value, tuple | list) else [] if value is None else [value]


def test_every_listed_operator_exists():
    assert [name for name in NOT_COMPUTE if name not in {base(one) for one in EVERY}] == []


def test_several_entries_add_up():
    assert set(expand(["aten::mm", "aten::bmm"])) == {*expand(["aten::mm"]), *expand(["aten::bmm"])}
    assert expand([]) == ()


def test_an_unknown_entry_is_found():
    assert find_unknown([COMPUTE, "aten::softmax", "aten::sotfmax"]) == ("aten::sotfmax",)
