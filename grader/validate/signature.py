"""Starter and solution must offer the same names with the same parameters.

Takes: two sources of the course author's. Gives: complaints. Does not cover: behaviour.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from grader.errors import AuthorError


def compare_signatures(starter: Path, solution: Path, exports: tuple[str, ...]) -> list[str]:
    """Return how the exported functions and classes of two files differ.

    Args:
        starter: what students begin with.
        solution: the reference.
        exports: names that the problems need.
    """
    left, right = _signatures(starter), _signatures(solution)
    complaints = []
    for name in exports:
        mine = {key: value for key, value in left.items() if key.split(".")[0] == name}
        if not mine:
            complaints.append(f"{starter}: does not define {name}")
        for key, parameters in mine.items():
            if key not in right:
                complaints.append(f"{solution}: does not define {key}, which the starter does")
            elif right[key] != parameters:
                complaints.append(
                    f"{solution}: {key}{right[key]} differs from the starter's {key}{parameters}"
                )
    return complaints


def _signatures(path: Path) -> dict[str, str]:
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError) as error:
        raise AuthorError(f"{path}: {error}") from error
    return dict(_walk(tree, ""))


def _walk(node: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, str]]:
    for child in node.body:
        if isinstance(child, ast.ClassDef):
            yield f"{prefix}{child.name}", "(class)"
            yield from _walk(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef) and not child.name.startswith("_"):
            yield f"{prefix}{child.name}", f"({_parameters(child.args)})"
        elif isinstance(child, ast.FunctionDef) and child.name == "__init__":
            yield f"{prefix}__init__", f"({_parameters(child.args)})"


def _parameters(arguments: ast.arguments) -> str:
    """Return names, kinds and defaults of parameters; annotations may differ in spelling."""
    bare = ast.arguments(
        posonlyargs=[ast.arg(arg=a.arg) for a in arguments.posonlyargs],
        args=[ast.arg(arg=a.arg) for a in arguments.args],
        vararg=ast.arg(arg=arguments.vararg.arg) if arguments.vararg else None,
        kwonlyargs=[ast.arg(arg=a.arg) for a in arguments.kwonlyargs],
        kw_defaults=arguments.kw_defaults,
        kwarg=ast.arg(arg=arguments.kwarg.arg) if arguments.kwarg else None,
        defaults=arguments.defaults,
    )
    return ast.unparse(bare)
