"""Compares the names and parameters of starter, solution and launchers; they must be the same."""

import ast
import copy
from collections.abc import Iterable, Iterator
from pathlib import Path

from grader.assignment.launcher import Argument, Launcher
from grader.errors import AuthorError
from grader.intake.submission import SourceFile


def compare_signatures(
    starter: Path, solution: Path, exports: tuple[str, ...], kernels: Iterable[SourceFile] = ()
) -> list[str]:
    """Return how the exported functions and classes of two files differ.

    Args:
        starter: what students begin with.
        solution: the reference.
        exports: names that the problems need.
        kernels: files that the reference imports them from, if it does not define them itself.
    """
    left = _signatures(starter)
    right = dict(pair for file in kernels for pair in _walk(ast.parse(file.text), ""))
    right |= _signatures(solution)
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


def compare_launchers(starter: Path, launchers: Iterable[Launcher]) -> list[str]:
    """Return how launchers differ from the starter's Python functions that they implement.

    Names, the order of parameters and defaults must be the same.
    """
    tree = ast.parse(starter.read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    complaints = []
    for launcher in launchers:
        function = functions.get(launcher.name)
        expected = _with_defaults(function.args) if function else "no such function"
        found = ", ".join(_declared(argument) for argument in launcher.arguments)
        if found != expected:
            complaints.append(
                f"{starter.parent / 'assignment.toml'}: launcher {launcher.name}({found}) "
                f"differs from the starter's ({expected})"
            )
    return complaints


def _with_defaults(arguments: ast.arguments) -> str:
    """Return names and defaults of positional and keyword parameters."""
    plain = [*arguments.posonlyargs, *arguments.args]
    padding: list[ast.expr | None] = [None] * (len(plain) - len(arguments.defaults))
    pairs = [
        *zip(plain, [*padding, *arguments.defaults], strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return ", ".join(a.arg if d is None else f"{a.arg}={ast.literal_eval(d)!r}" for a, d in pairs)


def _declared(argument: Argument) -> str:
    (first, *_) = argument.parameters
    if argument.is_tuple:
        return argument.name
    if first.optional:
        return f"{argument.name}=None"
    if first.words:
        return f"{argument.name}={first.words[0]!r}"
    return f"{argument.name}={first.default[0]!r}" if first.default else argument.name


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
        elif isinstance(child, ast.FunctionDef) and (
            child.name == "__init__" or not child.name.startswith("_")
        ):
            yield f"{prefix}{child.name}", f"({_parameters(child.args)})"


def _parameters(arguments: ast.arguments) -> str:
    """Return names, kinds and defaults of parameters; annotations may differ in spelling."""
    bare = copy.deepcopy(arguments)
    for part in ast.walk(bare):
        if isinstance(part, ast.arg):
            part.annotation = None
    return ast.unparse(bare)
