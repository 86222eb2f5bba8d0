"""The handout of `gpu_kernels`: which Triton grades, what is gone in it, and what torch may do."""

import importlib
import re
from pathlib import Path

import pytest
import triton
import triton.language as tl

from grader.assignment.folders import find_assignment
from grader.runner.denial import NOT_COMPUTE
from tests.unit.runner.corpus import operators

ROOT = Path(__file__).resolve().parents[2]
README = (find_assignment("gpu_kernels", None) / "README.md").read_text("utf-8")
ROWS = re.findall(
    r"^\| (.*) \| (.*) \|$", README.partition("| gone | instead |\n")[2], re.MULTILINE
)
NAME = re.compile(r"`((?:tl|triton)\.[\w.]+)`")
CODE = re.compile(r"`(\w+)`")
GONE = [name for gone, _ in ROWS for name in NAME.findall(gone)]
INSTEAD = [name for _, instead in ROWS for name in NAME.findall(instead)]


def find(name):
    """Return what a dotted name means; raise if it means nothing."""
    module, _, rest = name.partition(".")
    found = {"tl": tl, "triton": triton}[module]
    path = module
    for part in rest.split("."):
        path = f"{path}.{part}"
        if not hasattr(found, part):
            importlib.import_module(path)
        found = getattr(found, part)
    return found


def part_of_the_handout(begin, end):
    return README.partition(begin)[2].partition(end)[0]


def test_the_version_is_the_one_that_grades():
    (stated,) = re.findall(r"^\*\*Triton (\S+)\*\* grades", README, re.MULTILINE)
    pinned = re.findall(r"^triton==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert [stated] == pinned
    assert triton.__version__ == stated


@pytest.mark.parametrize("name", GONE)
def test_what_is_said_to_be_gone_is_gone(name):
    try:
        left = find(name)
    except ImportError:
        return
    with pytest.raises(NotImplementedError):  # a name may be left that only raises
        left(None, (), (), (), (), (), _semantic=object())


@pytest.mark.parametrize("name", INSTEAD)
def test_what_is_named_instead_is_there(name):
    assert find(name) is not None
    assert name not in GONE


def test_the_table_is_read():
    assert len(GONE) > 12
    assert len(INSTEAD) > 8


def test_operators_that_are_said_to_be_allowed_are_allowed():
    named = CODE.findall(part_of_the_handout("* allowed are", "* refused are"))
    assert len(named) > 15
    assert {f"aten::{name}" for name in named} <= NOT_COMPUTE
    assert {*named} <= {*operators.MOVES, "triu"}


def test_operators_that_are_said_to_be_refused_are_refused():
    named = CODE.findall(part_of_the_handout("* refused are", "## Theory"))
    named = [name for name in named if name not in ("expand", "repeat_interleave")]
    assert len(named) > 12
    assert {*named} <= {*operators.OTHERS, "triu"}
