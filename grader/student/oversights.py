"""What a student may have overlooked before handing in, found in the source; nothing is run.

Each oversight is one sentence for the student: what, where, and what to do. Torch is not imported.
Work in CUDA C++ is only looked at for an untouched starter, marks of a merge, and files that are
not in the zip. Whether the work is right is not looked at.
"""

import ast
import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import FunctionType, ModuleType

from grader.evidence.faults import damage_of
from grader.intake.submission import Origin, SourceFile, Submission
from grader.runner.loading import (
    Compiled,
    compile_statements,
    explain_absent,
    is_offered,
    loaded_names,
    select,
    stored_names,
)
from grader.student.work import Work, read_mark

MAX_SHOWN = 20
_MODULE_NAMES = {"__name__", "__file__", "__doc__", "__spec__", "__package__", "__builtins__"}
_CONFLICT = re.compile(r"^(<<<<<<< |>>>>>>> )", re.MULTILINE)
_INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
"""In the notice about a cell that was left out."""
_IMPORT_ERRORS = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}


@dataclass(frozen=True)
class _Source:
    """One source file of a submission, parsed at most once."""

    file: SourceFile

    @cached_property
    def compiled(self) -> list[Compiled]:
        """The statements at the top; none if it is not Python."""
        try:
            return compile_statements(self.file.text.encode(), self.file.name)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return []

    @cached_property
    def bound(self) -> set[str]:
        """The names that statements at the top bind."""
        return {name for _, code in self.compiled for name in stored_names(code)}


def find_oversights(work: Work, submission: Submission, exports: Sequence[str]) -> tuple[str, ...]:
    """Return one sentence for each oversight in the work; `exports` are the names that it needs."""
    sources = [_Source(file) for file in submission.files]
    found = list(_untouched(work))
    found += [f"{one.where}: {one.consequence}" for one in damage_of(submission)]
    if submission.origin is Origin.CUDA:
        found += [text for one in sources for text in _conflicts(one.file)]
        found += _not_included(work, submission)
    else:
        found += _imports(sources[0], work, submission, needed=exports)
        found += [text for one in sources[1:] for text in _imports(one, work, submission)]
        found += [text for one in sources for text in _opened(one, work, submission)]
        if sources[0].compiled:
            found += [text for text, _ in _undefined(sources[0], submission, exports)]
    return tuple(dict.fromkeys(found))


def absent_modules(defined: Iterable[object], allowed: Sequence[str]) -> tuple[str, ...]:
    """Return one sentence for each module that functions use and that grading does not have.

    The functions, and the methods of classes, are live ones of a notebook; what they call of the
    same notebook is looked at, too.
    """
    waiting, seen, found = list(defined), set[int](), dict[str, str]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, type):
            waiting += vars(one).values()
        elif isinstance(one, FunctionType):
            used = [one.__globals__.get(name) for name in loaded_names(one.__code__)]
            for value in used:
                home = value.__name__ if isinstance(value, ModuleType) else _home_of(value)
                top = home.partition(".")[0]
                if home == one.__module__:
                    waiting.append(value)
                elif top and top != "grader" and not is_offered(top, allowed):
                    found[top] = f"{one.__qualname__}: {explain_absent(top, allowed)}"
    return tuple(found.values())


def _home_of(value: object) -> str:
    home = getattr(value, "__module__", "") if isinstance(value, type | FunctionType) else ""
    return home if isinstance(home, str) else ""


def missing_names(submission: Submission, names: Sequence[str]) -> tuple[str, ...]:
    """Return those of `names` that no statement at the top of the graded file binds."""
    source = _Source(submission.files[0])
    starred = any(_is_star(statement) for statement, _ in source.compiled)
    return () if starred else tuple(name for name in names if name not in source.bound)


def _untouched(work: Work) -> Iterator[str]:
    content = hashlib.sha256(work.path.read_bytes()).hexdigest()
    if content in read_mark(work.path.parent).untouched.values():
        yield (
            f"{work.path.name} is the starter as `grader init` wrote it: write your answers into "
            "it and save it, or name the file that holds them"
        )


def _conflicts(file: SourceFile) -> Iterator[str]:
    marks = [file.text.count("\n", 0, found.start()) + 1 for found in _CONFLICT.finditer(file.text)]
    if len(marks) > 1:
        yield (
            f"{file.place_of(marks[0])}: a merge has left its marks (`<<<<<<<`, `>>>>>>>`): keep "
            "one version of the lines between them, and delete the marks"
        )


def _imports(
    source: _Source, work: Work, submission: Submission, *, needed: Sequence[str] = ()
) -> Iterator[str]:
    """Yield imports of modules that are not there where work is graded.

    Those in functions count only if the names `needed` use the function; without names, all do.
    """
    packed = {Path(file.name).stem for file in submission.files}
    file, folder = source.file, work.path.parent
    used = select(source.compiled, needed) if needed else source.compiled
    looked_at = [one for one in source.compiled if one in used or not _defines(one[0])]
    for node in (n for statement, _ in looked_at for n in _run_by_import(statement)):
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level:
            modules = [node.module or node.names[0].name]
        for top in (module.partition(".")[0] for module in modules):
            beside = next((n for n in (f"{top}.py", top) if (folder / n).exists()), "")
            if top in packed or top == "grader" or is_offered(top, submission.allowed_imports):
                continue
            if beside:
                yield (
                    f"{file.place_of(node.lineno)}: {top} is imported, but {beside} is not in the "
                    f"zip: copy what you need from it into {work.path.name}"
                )
            else:
                absent = explain_absent(top, submission.allowed_imports)
                yield f"{file.place_of(node.lineno)}: {absent}; remove the import and what uses it"


def _defines(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


def _run_by_import(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield imports below a node that nothing catches, if they fail, and nothing skips."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node
        return
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, ast.Try) and any(_catches_import(one) for one in node.handlers):
        children = [*node.orelse, *node.finalbody]
    elif isinstance(node, ast.If) and {"__name__", "TYPE_CHECKING"} & set(_words(node.test)):
        children = [*node.orelse]
    for child in children:
        yield from _run_by_import(child)


def _catches_import(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or bool(_IMPORT_ERRORS & set(_words(handler.type)))


def _words(node: ast.AST) -> Iterator[str]:
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr


def _opened(source: _Source, work: Work, submission: Submission) -> Iterator[str]:
    """Yield files beside the work that a text of the source names and that are not in the zip."""
    packed = {work.path.name, *(file.name for file in submission.files)}
    nodes = (node for statement, _ in source.compiled for node in ast.walk(statement))
    for call in (node for node in nodes if isinstance(node, ast.Call)):
        for value in (*call.args, *(keyword.value for keyword in call.keywords)):
            name = value.value if isinstance(value, ast.Constant) else None
            if isinstance(name, str) and name not in packed and _is_file(work, name):
                yield (
                    f"{source.file.place_of(value.lineno)}: {name} is not in the zip, and not "
                    "there where work is graded: write what it holds into your code"
                )


def _is_file(work: Work, name: str) -> bool:
    try:
        return bool(name.strip("./")) and (work.path.parent / name).is_file()
    except (OSError, ValueError):  # a text that no file can be called
        return False


def _not_included(work: Work, submission: Submission) -> Iterator[str]:
    packed = {file.name for file in submission.files}
    for file in submission.files:
        for found in _INCLUDE.finditer(file.text):
            name = found[1]
            if name not in packed and "/" in name and _is_file(work, name):
                line = file.text.count("\n", 0, found.start(1)) + 1
                yield (
                    f"{file.place_of(line)}: {name} is included, but it is not in the zip: put it "
                    f"beside {work.path.name}, without a folder"
                )


def find_misnamed(submission: Submission, exports: Sequence[str]) -> tuple[str, ...]:
    """Return one sentence for each name that is needed, and that the file may have under another.

    `exports` are the names that the problems need.
    """
    undefined = _undefined(_Source(submission.files[0]), submission, exports)
    return tuple(sentence for sentence, near in undefined if near)


def _undefined(
    source: _Source, submission: Submission, exports: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield a sentence and a similar name for each name that is needed and nowhere explained."""
    explained = {name for one in submission.broken for name in one.names}
    for name in missing_names(submission, exports):
        if name not in explained:
            near = _similar(name, source.bound)
            meant = f"; did you mean {near}, which is? Rename it" if near else ""
            yield f"{name} is not defined in your file, so its problem gets no points{meant}", near


def _similar(name: str, bound: set[str]) -> str:
    plain = {one.replace("_", "").lower(): one for one in bound}
    near = difflib.get_close_matches(name.replace("_", "").lower(), plain, n=1, cutoff=0.8)
    return plain[near[0]] if near else ""


def _is_star(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*"
