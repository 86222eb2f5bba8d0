"""Every kernel has the same parts, a test of the same stem, and is small."""

import ast

import pytest

from benchmarks.kernels._load import FOLDER, OPERATIONS, SHARED

TESTS = FOLDER.parent / "tests" / "kernels"
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40
"""Below the parameters: a kernel has a line for each stride of each tensor."""


def tree_of(name: str) -> ast.Module:
    return ast.parse((FOLDER / f"{name}.py").read_text(encoding="utf-8"))


def functions(name: str) -> list[ast.FunctionDef]:
    return [node for node in ast.walk(tree_of(name)) if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("name", OPERATIONS)
def test_parts(name):
    found = {node.name for node in functions(name)}
    assert {f"naive_{name}", f"_{name}_kernel", name, "bytes_moved", "flops"} <= found
    assert (TESTS / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", [*OPERATIONS, *SHARED])
def test_size_and_docstring(name):
    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    about = " ".join((ast.get_docstring(ast.parse(text)) or "").split())
    for words in ("Takes", "Gives", "Does not cover".lower()):
        assert words.lower() in about.lower()
    assert name in SHARED or "Shapes: " in about, "no legend of shape suffixes"


@pytest.mark.parametrize("name", [*OPERATIONS, *SHARED])
def test_functions_are_small(name):
    for node in functions(name):
        body = (node.end_lineno or 0) - node.body[0].lineno + 1
        assert body <= MAX_FUNCTION_LINES, f"{node.name}: {body} lines below its parameters"


def test_the_folder_is_no_package():
    assert not list(FOLDER.rglob("__init__.py"))
