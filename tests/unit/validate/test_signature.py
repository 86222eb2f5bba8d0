"""Starter and solution offer the same names with the same parameters."""

from dataclasses import replace

import pytest

from grader.assignment.launcher import read_launcher
from grader.errors import AuthorError
from grader.validate.signature import compare_launchers, compare_signatures

STARTER = '''
class Cache:
    """A cache."""
    def __init__(self, size: int, *, dtype=None): ...
    def append(self, k, v): raise NotImplementedError
    def _private(self): ...

def attend(q, /, k, *rest, scale: float = 1.0, **options) -> int: ...
'''
EXPORTS = ("Cache", "attend")


def compare(tmp_path, starter, solution):
    (tmp_path / "starter.py").write_text(starter)
    (tmp_path / "solution.py").write_text(solution)
    return compare_signatures(tmp_path / "starter.py", tmp_path / "solution.py", EXPORTS)


def test_equal_signatures_have_no_complaints(tmp_path):
    assert compare(tmp_path, STARTER, STARTER) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("size: int", "size"),
        (" -> int", ""),
        ("def _private(self)", "def _other(self, x)"),
        ("\n\ndef attend", "\n\ndef extra(): ...\n\ndef attend"),
    ],
)
def test_annotations_and_extras_do_not_matter(tmp_path, old, new):
    assert old in STARTER
    assert compare(tmp_path, STARTER, STARTER.replace(old, new)) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("k, v)", "k, value)", "Cache.append(self, k, value) differs from the starter's"),
        ("size: int", "size: int = 4", "Cache.__init__"),
        ("*, dtype", "dtype", "Cache.__init__"),
        ("q, /, k", "q, k", "attend"),
        ("scale: float = 1.0", "scale: float = 2.0", "attend"),
        ("**options", "**others", "attend"),
        ("def append", "def extend", "does not define Cache.append, which the starter does"),
        ("def attend", "def attention", "does not define attend, which the starter does"),
    ],
)
def test_each_difference_is_said(tmp_path, old, new, said):
    assert old in STARTER
    (complaint,) = compare(tmp_path, STARTER, STARTER.replace(old, new))
    assert "solution.py: " in complaint
    assert said in complaint


def test_an_export_that_the_starter_lacks(tmp_path):
    complaints = compare(tmp_path, "def attend(): ...", "def attend(): ...")
    assert [c.split(": ")[1] for c in complaints] == ["does not define Cache"]


@pytest.mark.parametrize("text", ["def broken(:", None])
def test_a_file_that_cannot_be_read_is_the_authors(tmp_path, text):
    (tmp_path / "starter.py").write_text(STARTER)
    if text is not None:
        (tmp_path / "solution.py").write_text(text)
    with pytest.raises(AuthorError, match=r"solution\.py"):
        compare_signatures(tmp_path / "starter.py", tmp_path / "solution.py", EXPORTS)


FUNCTIONS = """
def f(x_MN, bias_N=None, *, eps=1e-6, mode="none"): ...
def g(do_M, pair, *, causal=False): ...
"""
F = read_launcher(
    "f", ["x_MN", "bias_N?", "eps: double = 1e-6", "mode: none | gelu"], ["y_MN: x_MN"]
)
G = read_launcher("g", ["do_M", "pair: (a_M, b_M)", "causal: bool = false"], ["y_M: do_M"])


def starter(tmp_path):
    path = tmp_path / "starter.py"
    path.write_text(FUNCTIONS, encoding="utf-8")
    return path


def test_launchers_that_take_what_the_functions_take(tmp_path):
    assert compare_launchers(starter(tmp_path), [F, G]) == []


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (["x_MN"], "f(x_MN) differs from the starter's (x_MN, bias_N=None, eps=1e-06"),
        (["x_MN", "bias_N?", "eps: double = 1e-5", "mode: none | gelu"], "eps=1e-05"),
        (["x_MN", "bias_N", "eps: double = 1e-6", "mode: none | gelu"], "f(x_MN, bias_N, eps"),
        (["x_MN", "bias_N?", "mode: none | gelu", "eps: double = 1e-6"], "mode='none', eps"),
    ],
)
def test_a_launcher_that_takes_something_else(tmp_path, inputs, said):
    (complaint,) = compare_launchers(starter(tmp_path), [read_launcher("f", inputs, ["y_M: x_MN"])])
    assert said in complaint
    assert "assignment.toml" in complaint


def test_a_launcher_of_no_function(tmp_path):
    (complaint,) = compare_launchers(starter(tmp_path), [replace(F, name="h")])
    assert "no such function" in complaint
