"""The house keeps its rules: imports run one way, untrusted code stays apart, pieces stay small.

Everything is read from the sources with `ast`; nothing is imported.
"""

import ast
import graphlib
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "grader"
FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in FILES}

ORDER = (
    *("errors", "strict", "runner", "intake", "assignment", "author", "evidence", "sandbox"),
    *("worker", "correctness", "performance/decide", "performance/measure", "judge", "cuda_cpp"),
    *(
        "advice",
        "record",
        "report",
        "preflight",
        "pipeline",
        "batch",
        "student",
        "release",
        "validate",
    ),
    *("commands", "__main__"),
)
"""The folders and files of the package, ground floor first: each imports only from those before."""

NEVER: dict[str, set[str]] = {
    # Pure: the same samples give the same verdict when they are judged again, on any machine.
    "performance/decide": {"sandbox", "worker", "correctness"},
    "judge": {"sandbox", "worker", "correctness", "performance/measure"},
    "report": {"sandbox", "worker", "correctness", "performance/measure"},
    # What is said of kernels changes no verdict and no point.
    "validate": {"advice", "record", "report"},
    # A student's machine runs cases, but has no sandbox, record or report.
    "student": {"sandbox", "worker", "performance/measure", "record", "report", "advice"},
    # Talking to a worker needs no knowledge of where its sandbox came from but its contract.
    "worker": {"performance/decide", "judge"},
    # An author's side runs on a machine without a sandbox, too.
    "release": {"sandbox", "worker", "record", "report", "advice"},
}
"""Imports that the order would allow and the design does not."""

TORCH_FOLDERS = ("runner/", "worker/", "student/", "validate/", "performance/measure/")
TORCH_FILES = {
    *("assignment/draw.py", "release/record_public.py", "sandbox/probe_submission.py"),
    *("evidence/comparison.py", "cuda_cpp/builder.py"),
}
RUNNER_PACKAGES = {"torch", "numpy", "landlock", "pyseccomp", "triton"}
UNSAFE_MODULES = {"pickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_NAMES = {"torch.load", "torch.save"}
UNSAFE_CALLS = {"eval", "exec", "__import__"}

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_POSITIONAL = 5
MAX_FILES = 218
MAX_LINES = 37_950
MAX_MODULES = 20

LONG_FILES: dict[str, tuple[int, str]] = {
    "assignment/table.py": (430, "every key of the table, with its checks"),
}
LONG_FUNCTIONS = {
    ("commands/grade.py", "command"): (82, "one parameter per command-line option"),
    ("commands/check.py", "command"): (52, "one parameter per command-line option"),
    ("commands/validate.py", "command"): (58, "one parameter per option; imports that wait"),
    ("sandbox/image.py", "build_image"): (44, "one order of steps, each with its own message"),
}
"""Exceptions: the most lines that each may have, and why."""


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
    return "/".join(path[:2]) if path[0] == "performance" and len(path) > 1 else path[0]


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


def measure_house() -> tuple[int, int, Counter[str]]:
    """Return the Python files of the package, their lines, and the modules of each folder."""
    folders = Counter(name.rpartition("/")[0] or "." for name in TREES)
    lines = sum(len((PACKAGE / name).read_text("utf-8").splitlines()) for name in TREES)
    return len(TREES), lines, folders


def functions(name: str) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        node
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def lines_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def test_imports_run_one_way():
    parts = {here for here, _ in edges()} | {there for _, there in edges()}
    unplaced = parts - set(ORDER) - {"__init__", "performance"}
    assert not unplaced, "parts without a place in the order"
    floor = {part: number for number, part in enumerate(ORDER)}
    upwards = {
        f"{name}: {here} imports {there}"
        for (here, there), names in edges().items()
        for name in names
        if floor[here] <= floor[there] or there in NEVER.get(here, set())
    }
    assert not upwards, "imports against the order of the house"


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
    assert graph["assignment/plan.py"] >= {"assignment/table.py", "errors.py"}
    graphlib.TopologicalSorter(graph).prepare()  # raises on a circle, and names it


def test_the_runner_knows_nothing_of_the_house():
    strangers = []
    for name in (name for name in TREES if name.startswith("runner/")):
        for node in ast.walk(TREES[name]):
            if isinstance(node, ast.ImportFrom) and node.level:
                if node.level > name.count("/"):
                    strangers.append(f"{name} reaches outside the folder that travels")
            elif isinstance(node, ast.Import | ast.ImportFrom):
                named = [alias.name for alias in node.names]
                modules = named if isinstance(node, ast.Import) else [node.module or ""]
                tops = {module.split(".")[0] for module in modules}
                unknown = tops - sys.stdlib_module_names - RUNNER_PACKAGES
                strangers += [f"{name} imports {top}" for top in unknown]
    assert not strangers


def test_only_the_side_of_tensors_imports_torch():
    found = [
        name
        for name in TREES
        if "torch" in {module.split(".")[0] for module, _ in imports(name)}
        and not (name.startswith(TORCH_FOLDERS) or name in TORCH_FILES)
    ]
    assert not found


def test_nothing_is_unpickled_or_evaluated():
    found: list[str] = []
    for name in TREES:
        modules = {module.split(".")[0] for module, _ in imports(name)}
        found += [f"{name} imports {module}" for module in modules & UNSAFE_MODULES]
        found += [
            f"{name} imports torch.{what}"
            for module, what in imports(name)
            if module == "torch" and what in ("load", "save")
        ]
        for node in ast.walk(TREES[name]):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id in UNSAFE_CALLS:
                    found.append(f"{name}:{node.lineno} calls {node.func.id}")
            elif isinstance(node, ast.Attribute) and ast.unparse(node) in UNSAFE_NAMES:
                found.append(f"{name}:{node.lineno} names {ast.unparse(node)}")
    assert not found


def test_files_and_functions_are_small():
    found: list[str] = []
    for name in TREES:
        count = len((PACKAGE / name).read_text(encoding="utf-8").splitlines())
        if count > LONG_FILES.get(name, (MAX_FILE_LINES, ""))[0]:
            found.append(f"{name} has {count} lines")
        for node in functions(name):
            limit, _ = LONG_FUNCTIONS.get((name, node.name), (MAX_FUNCTION_LINES, ""))
            if lines_of(node) > limit:
                found.append(f"{name}:{node.lineno} {node.name} has {lines_of(node)} lines")
            positional = [a for a in (*node.args.posonlyargs, *node.args.args) if a.arg != "self"]
            if not name.startswith("commands/") and len(positional) > MAX_POSITIONAL:
                found.append(f"{name}:{node.lineno} {node.name} has {len(positional)} parameters")
    assert not found


def test_the_house_stays_small():
    files, lines, folders = measure_house()
    print(f"{files} files, {lines} lines, most modules in a folder: {folders.most_common(3)}")
    assert files <= MAX_FILES
    assert lines <= MAX_LINES
    assert max(folders.values()) <= MAX_MODULES


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


def test_a_module_says_what_it_is():
    silent = [name for name in TREES if not (ast.get_docstring(TREES[name]) or "").strip()]
    assert not silent, "no module docstring"


FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "data"}


def test_names_are_terms_of_the_field():
    found = [name for name in TREES if set(name.removesuffix(".py").split("/")) & FORBIDDEN_NAMES]
    found += [
        f"{name}: {node.name}"
        for name in TREES
        for node in functions(name)
        if node.name.startswith("handle_")
    ]
    assert not found


def test_the_docker_folder_does_not_shadow_the_sdk():
    assert not list((ROOT / "docker").rglob("__init__.py"))
