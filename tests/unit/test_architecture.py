"""The house keeps its rules: imports run one way, untrusted code stays apart, pieces stay small.

Everything is read from the sources with `ast`; nothing is imported.
"""

import ast
import graphlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "grader"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in FILES}

AUTHOR_WORDS = {"__init__", "declare", "draw", "interpreted", "sequences", "shrinking", "steps"}
"""Modules of `author` that cases are written with or solutions loaded; the others are tools that
use later stages."""

ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    # Plain values to dataclasses, for every reader of a file.
    "strict": set(),
    "runner": set(),
    # Devices and their measured limits; the driver's structures are declared once, in the runner.
    "device": {"errors", "strict", "runner"},
    "author": {"errors"},
    "intake": {"errors"},
    # Which operators there are to deny is known to the torch that denies them.
    "plan": {"errors", "strict", "runner", "device", "author"},
    "sandbox": {"errors", "runner", "plan"},
    "statistics": set(),
    "measure": {
        *("errors", "runner", "device", "author", "intake", "plan", "sandbox", "statistics"),
    },
    "judge": {"plan", "measure", "statistics"},
    # Beside the picture: what the box says of kernels, which no verdict and no point depends on.
    "advice": {"errors", "author", "intake", "plan", "sandbox", "measure"},
    "record": {"errors", "strict", "intake", "plan", "measure", "judge", "advice"},
    # Pages show samples as distributions, added up by the functions that the verdict stands on.
    "report": {
        *("errors", "intake", "plan", "statistics", "measure", "judge", "record", "advice"),
    },
    "pipeline": {"errors", "intake", "plan", "sandbox", "measure", "judge", "advice", "record"},
    "run_folder": {"errors", "plan", "record"},
    "batch": {
        *("errors", "intake", "plan", "sandbox", "measure", "judge", "record", "report"),
        *("advice", "pipeline", "run_folder"),
    },
    # The student's side runs cases, but knows no wall, record or report.
    "student": {"errors", "strict", "runner", "author", "intake", "plan", "measure", "judge"},
    "author tools": {"errors", "author", "plan", "measure", "student"},
    "validate": {
        *("errors", "device", "author", "intake", "plan", "sandbox", "measure", "judge"),
        "student",
    },
    # Verdicts on submissions of known slowness, measured and judged as a class is.
    "bench": {
        *("errors", "intake", "plan", "sandbox", "statistics", "measure", "judge"),
    },
    "commands": {
        *("errors", "device", "author", "author tools", "intake", "plan", "sandbox", "measure"),
        *("judge", "record", "report", "student", "run_folder", "batch", "validate", "bench"),
    },
    # A class of samples, graded as a user of the command line would.
    "demo": {
        *("errors", "author tools", "intake", "plan", "sandbox", "judge", "record", "batch"),
        "commands",
    },
    "__main__": {"commands"},
    "__init__": set(),
}
"""Who may import whom; a new edge is a decision, taken here."""

TORCH_FOLDERS = ("runner/", "measure/", "student/", "validate/")
TORCH_FILES = {
    *("author/draw.py", "author/record_public.py", "sandbox/probe_submission.py"),
    "device/ceiling_measurement.py",
}
RUNNER_PACKAGES = {"torch", "numpy", "landlock", "pyseccomp", "triton"}
UNSAFE_MODULES = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec", "__import__"}

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 40
MAX_POSITIONAL = 5

LONG_FILES: dict[str, tuple[int, str]] = {
    "plan/assignment.py": (330, "one file format, its table and its checks"),
    "batch.py": (305, "one class from taking in to pages"),
}
LONG_FUNCTIONS = {
    ("commands/grade.py", "command"): (53, "one parameter per command-line option"),
    ("commands/validate.py", "command"): (51, "one parameter per command-line option"),
    ("measure/compare.py", "_compare_tensors"): (44, "one comparison, one early return per way"),
    ("sandbox/image.py", "build_image"): (44, "one order of steps, each with its own message"),
}
"""Exceptions: the most lines that each may have, and why."""

WITHOUT_TAKES_AND_GIVES = {
    "__main__.py": "two lines that start the command line",
    "errors.py": "the tree of errors is drawn instead",
}
"""Besides `__init__` files and commands, whose text is what `--help` shows."""


def imports(name: str) -> list[tuple[str, str]]:
    """Return (module, imported name) of every import of a file, relative ones made absolute."""
    package = ["grader", *name.split("/")[:-1]]
    found: list[tuple[str, str]] = []
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [(module, alias.name) for alias in node.names]
    return found


def part_of(path: list[str]) -> str:
    """Return the part of the house that a module path below `grader` belongs to."""
    if path[0] == "author" and len(path) > 1 and path[1] not in AUTHOR_WORDS:
        return "author tools"
    return path[0]


def edges() -> dict[tuple[str, str], set[str]]:
    """Return (importer, imported) parts with the files that make the edge."""
    found: dict[tuple[str, str], set[str]] = {}
    for name in TREES:
        here = part_of(name.removesuffix(".py").split("/"))
        for module, what in imports(name):
            path = module.split(".")
            if path[0] != "grader":
                continue
            below = path[1:] + ([what] if what else [])
            if (PACKAGE / "/".join(path[1:])).is_dir() and not (
                (PACKAGE / "/".join(below)).is_dir()
                or (PACKAGE / "/".join(below)).with_suffix(".py").is_file()
            ):
                below = path[1:]  # a name defined in a package, not a module of it
            if not below:
                continue  # `from grader import __version__`
            there = part_of(below)
            if there != here:
                found.setdefault((here, there), set()).add(name)
    return found


def functions(name: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_imports_run_one_way():
    order = list(graphlib.TopologicalSorter(ALLOWED).static_order())  # raises on a circle
    assert order.index("errors") < order.index("measure") < order.index("commands")
    new = {
        (edge, name)
        for edge, names in edges().items()
        for name in names
        if edge[1] not in ALLOWED.get(edge[0], set())
    }
    assert not new, "imports against the direction of the picture"


def test_no_circle_of_files():
    """Imports for types alone count: what needs another's nouns depends on it."""
    graph: dict[str, set[str]] = {}
    for name in TREES:
        found = graph.setdefault(name, set())
        for module, what in imports(name):
            if module.split(".")[0] != "grader":
                continue
            path = "/".join(module.split(".")[1:])
            inner = "/".join(filter(None, [path, what]))
            outer = f"{path}/__init__.py" if path else "__init__.py"
            target = next((one for one in (f"{inner}.py", f"{path}.py", outer) if one in TREES), "")
            found |= {target} - {"", name}
    assert graph["plan/plan.py"] >= {"plan/assignment.py", "errors.py"}
    graphlib.TopologicalSorter(graph).prepare()  # raises on a circle, and names it


def test_the_pipeline_is_in_the_order_of_the_picture():
    order = (
        "device author intake plan sandbox measure judge record report pipeline batch commands"
    ).split()
    for place, part in enumerate(order):
        later = ALLOWED[part] & set(order[place:])
        assert not later, f"{part} must not know {later}"


def test_no_verdict_can_depend_on_advice():
    for part in ("author", "intake", "plan", "sandbox", "measure", "judge", "validate"):
        assert "advice" not in ALLOWED[part]


def test_the_runner_knows_nothing_of_the_house():
    for name in (name for name in TREES if name.startswith("runner/")):
        for node in ast.walk(TREES[name]):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1, f"{name} reaches outside the folder that travels"
            elif isinstance(node, ast.Import | ast.ImportFrom):
                modules = (
                    [alias.name for alias in node.names]
                    if isinstance(node, ast.Import)
                    else [node.module or ""]
                )
                for module in modules:
                    top = module.split(".")[0]
                    known = top in sys.stdlib_module_names or top in RUNNER_PACKAGES
                    assert known, f"{name} imports {module}"


@pytest.mark.parametrize("name", TREES)
def test_only_the_side_of_tensors_imports_torch(name):
    tops = {module.split(".")[0] for module, _ in imports(name)}
    if "torch" in tops:
        assert name.startswith(TORCH_FOLDERS) or name in TORCH_FILES


@pytest.mark.parametrize("name", TREES)
def test_nothing_is_unpickled_or_evaluated(name):
    assert not {module.split(".")[0] for module, _ in imports(name)} & UNSAFE_MODULES
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in UNSAFE_CALLS, f"line {node.lineno}"
        if isinstance(node, ast.Attribute) and node.attr in ("load", "save"):
            assert not (isinstance(node.value, ast.Name) and node.value.id == "torch")
    assert not {(m, w) for m, w in imports(name) if m == "torch" and w in ("load", "save")}


@pytest.mark.parametrize("name", TREES)
def test_files_and_functions_are_small(name):
    count = len((PACKAGE / name).read_text(encoding="utf-8").splitlines())
    assert count <= LONG_FILES.get(name, (MAX_FILE_LINES, ""))[0]
    for node in functions(name):
        limit, _ = LONG_FUNCTIONS.get((name, node.name), (MAX_FUNCTION_LINES, ""))
        assert lines_of(node) <= limit, f"{node.name} in line {node.lineno}"
        positional = [a for a in (*node.args.posonlyargs, *node.args.args) if a.arg != "self"]
        commands = name.startswith("commands/") or name.startswith("demo/")
        assert commands or len(positional) <= MAX_POSITIONAL, f"{node.name}"


def test_exceptions_are_still_needed():
    for name, (limit, reason) in LONG_FILES.items():
        count = len((PACKAGE / name).read_text(encoding="utf-8").splitlines())
        assert MAX_FILE_LINES < count <= limit, f"{name} ({reason})"
    for (name, function), (limit, reason) in LONG_FUNCTIONS.items():
        longest = max(lines_of(node) for node in functions(name) if node.name == function)
        assert MAX_FUNCTION_LINES < longest <= limit, f"{name}: {function} ({reason})"


def test_the_picture_is_the_code():
    (grade,) = (node for node in functions("pipeline.py") if node.name == "grade")
    assert lines_of(grade) < 40
    called = [
        node.func.id
        for node in ast.walk(grade)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    for verb in ("measure", "judge", "make_record"):
        assert verb in called


@pytest.mark.parametrize("name", TREES)
def test_a_module_says_what_it_is(name):
    text = " ".join((ast.get_docstring(TREES[name]) or "").split())
    assert text, "no module docstring"
    if name.endswith("__init__.py") or name in WITHOUT_TAKES_AND_GIVES:
        return
    if name.startswith("commands/"):
        return
    for words in ("Takes", "Gives", "Does not cover"):
        assert words in text, f"the docstring does not say {words!r}"


FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "data"}


@pytest.mark.parametrize("name", TREES)
def test_names_are_terms_of_the_field(name):
    assert not set(name.removesuffix(".py").split("/")) & FORBIDDEN_NAMES
    assert not [node.name for node in functions(name) if node.name.startswith("handle_")]


def test_the_docker_folder_does_not_shadow_the_sdk():
    assert not list((ROOT / "docker").rglob("__init__.py"))
