"""Which operators an entry of a `denied` list means."""

import pytest
from torch import _C

from grader.runner.denial import COMPUTE, NOT_COMPUTE, expand, find_unknown

EVERY = set(_C._dispatch_get_all_op_names())


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


def test_a_star_stands_for_any_letters():
    wide = set(expand(["aten::*softmax*"]))
    assert wide > set(expand(["aten::softmax"]))
    assert any("log_softmax" in name for name in wide)


def test_computing_is_everything_that_is_not_spared():
    denied = set(expand([COMPUTE]))
    left = EVERY - denied
    assert {base(name) for name in left if name.startswith("aten::")} == NOT_COMPUTE
    assert {name.partition("::")[0] for name in left} == {"aten", "profiler"}
    assert len(denied) > 3000


@pytest.mark.parametrize(
    "name", "mm add.Tensor exp_ softmax.int item _local_scalar_dense cat index.Tensor sum".split()
)
def test_what_solves_or_reads_is_computing(name):
    assert f"aten::{name}" in expand([COMPUTE])


def test_every_spared_operator_exists():
    assert [name for name in NOT_COMPUTE if name not in {base(one) for one in EVERY}] == []


def test_several_entries_add_up():
    assert set(expand(["aten::mm", "aten::bmm"])) == {*expand(["aten::mm"]), *expand(["aten::bmm"])}
    assert expand([]) == ()


def test_an_unknown_entry_is_found():
    assert find_unknown([COMPUTE, "aten::softmax", "aten::sotfmax"]) == ("aten::sotfmax",)
