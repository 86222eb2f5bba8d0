"""Starter and solution offer the same names with the same parameters."""

import pytest

from grader.errors import AuthorError
from grader.validate.signature import compare_signatures

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
