"""Builds what students get: a bundle of the assignment, and beside it the wheel of this program.

`<slug>-<version>.zip` holds the assignment as data, its manifest and how to install both. The wheel
holds no assignment, so one serves all of them. Both are built from a checkout. `starter.ipynb`
is made from `starter.py`, equal bytes for equal text, and never edited by hand.
`find_leaks` searches the files for pieces of the reference; if it finds one, nothing is written.
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat

from grader.assignment.declare import load_cases, load_workloads
from grader.assignment.folders import PACKAGE, harness_files, solution_files
from grader.assignment.public_cases import PUBLIC_FOLDER
from grader.assignment.table import load_assignment
from grader.cuda_cpp.header import STARTER, write_starter
from grader.errors import AuthorError, UsageError
from grader.release.record_public import record_public, write_if_changed, write_public
from grader.student.bundle import MANIFEST, make_manifest
from grader.student.packing import zip_bytes

ANSWER_TAG = "export"
MIN_LINE_CHARACTERS = 41
PACKAGE_PREFIX = "grader/"

_TEXT_FOR_STUDENTS = re.compile(r"""^[rf]?(["']).*\1[,)]*$""")
"""A line that is only a string: a label or a message, which public cases show."""
_COMMON = ("from ", "import ", "@dataclass(")
"""Long lines that begin like this may be equal by chance."""

BUILD_LIMIT_S = 300
HANDED_OUT = ("README.md", "starter.py", "starter.ipynb", STARTER, "assignment.toml")
_NOT_FOR_STUDENTS = ("__pycache__", "*.pyc", "*.tmpl", "_templates", "_docker")
_PROJECT_FILES = ("pyproject.toml", "README.md", "LICENSE")
_PROJECT_FOLDERS = ("templates", "docker")

INSTALL_PAGE = Path("docs", "students", "install.md")
"""The page that becomes INSTALL.md, written for the first version of one assignment."""
_EXAMPLE = "kv_cache"
_EXAMPLE_WHEEL = re.compile(r"llm_systems_grader-[0-9.]+-py3-none-any\.whl")


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What was written for students.

    Attributes:
        path: the bundle.
        sha256: of the bundle.
        members: names in the bundle.
        wheel: of this program, without assignments.
        changed: files of the assignment that had to be made again.
        replaced: files that were there before, of the same version and with other content.
    """

    path: Path
    sha256: str
    members: tuple[str, ...]
    wheel: Path
    changed: tuple[Path, ...]
    replaced: tuple[Path, ...]


def release(assignment: Path, reference: Path, out: Path) -> Released:
    """Make public cases and starters again, and write bundle and wheel into the folder `out`.

    Nothing of the folder `reference`, which holds the answers, may reach them.

    Raises:
        AuthorError: if the assignment is wrong, or something of the reference would leak.
        UsageError: if this is no checkout, or `out` cannot be written.
    """
    checkout = _checkout()
    changed = list(write_public(assignment, record_public(assignment, reference)))
    if refresh_notebook(assignment):
        changed.append(assignment / "starter.ipynb")
    table = load_assignment(assignment)
    starter = assignment / STARTER
    if table.launchers and write_if_changed(starter, write_starter(table, assignment)):
        changed.append(starter)
    wheel_name, wheel = _build_wheel(checkout)
    members = _members(assignment, table.version, checkout, wheel_name)
    leaks = find_leaks(
        {**members, wheel_name: wheel}, reference, _shared_texts(assignment, reference)
    )
    if leaks:
        listed = "\n  ".join(leaks[:10])
        hint = "nothing was written; remove them from the files that students get"
        raise AuthorError(f"{len(leaks)} pieces of {reference} would leak:\n  {listed}", hint=hint)
    bundle = zip_bytes(members)
    written = {out / f"{table.slug}-{table.version}.zip": bundle, out / wheel_name: wheel}
    replaced = _write(written)
    path, wheel_path = written
    return Released(
        path=path,
        sha256=hashlib.sha256(bundle).hexdigest(),
        members=tuple(members),
        wheel=wheel_path,
        changed=tuple(changed),
        replaced=replaced,
    )


def _write(contents: Mapping[Path, bytes]) -> tuple[Path, ...]:
    """Write files; return those that had other content before."""
    replaced: list[Path] = []
    for path, content in contents.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file() and path.read_bytes() != content:
                replaced.append(path)
            path.write_bytes(content)
        except OSError as error:
            hint = "name a folder with --out"
            raise UsageError(f"{path}: {error.strerror}", hint=hint) from error
    return tuple(replaced)


def _checkout() -> Path:
    root = PACKAGE.parent
    if not (root / "pyproject.toml").is_file():
        raise UsageError(
            f"{root}: not a checkout of this project, and a bundle can be built only from one",
            hint="install the project from a checkout: pip install -e CHECKOUT",
        )
    return root


def _members(assignment: Path, version: str, checkout: Path, wheel_name: str) -> dict[str, bytes]:
    """Return the bundle's files by name, all of them in one folder.

    The folder is named by the version, so that it does not meet a student's own work.
    """
    files = _handout(assignment)
    page = (checkout / INSTALL_PAGE).read_text(encoding="utf-8")
    top = f"{assignment.name}-{version}"
    page = _EXAMPLE_WHEEL.sub(wheel_name, page).replace(f"{_EXAMPLE}-1.0", top)
    given = {
        "INSTALL.md": page.replace(_EXAMPLE, assignment.name).encode(),
        MANIFEST: make_manifest(assignment.name, version, files).to_json(),
    }
    return {f"{top}/{name}": content for name, content in {**given, **files}.items()}


def _handout(assignment: Path) -> dict[str, bytes]:
    """Return the files of an assignment that students get, by name."""
    paths = {name: assignment / name for name in HANDED_OUT}
    files = {name: path.read_bytes() for name, path in paths.items() if path.is_file()}
    files |= {file.name: file.text.encode() for file in harness_files(assignment)}
    recorded = sorted((assignment / PUBLIC_FOLDER).glob("*.json"))
    return files | {f"{PUBLIC_FOLDER}/{path.name}": path.read_bytes() for path in recorded}


def _build_wheel(checkout: Path) -> tuple[str, bytes]:
    """Build the wheel from a copy without what is for authors; return its name and bytes.

    Raises:
        AuthorError: if the build fails.
    """
    with tempfile.TemporaryDirectory(prefix="grader-release-") as scratch:
        stage, dist = Path(scratch) / "stage", Path(scratch) / "dist"
        _stage(checkout, stage)
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(dist)]
        try:
            built = subprocess.run(
                command,
                cwd=stage,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
                timeout=BUILD_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise AuthorError(f"the wheel was not built within {BUILD_LIMIT_S} s") from error
        wheels = sorted(dist.glob("*.whl")) if dist.is_dir() else []
        if built.returncode != 0 or len(wheels) != 1:
            raise AuthorError(f"the wheel could not be built:\n{built.stderr.strip()}")
        return wheels[0].name, wheels[0].read_bytes()


def _stage(checkout: Path, stage: Path) -> None:
    """Copy the files that the wheel is made of."""
    ignored = shutil.ignore_patterns(*_NOT_FOR_STUDENTS)
    shutil.copytree(checkout / "grader", stage / "grader", ignore=ignored)
    for name in _PROJECT_FOLDERS:
        shutil.copytree(checkout / name, stage / name, ignore=ignored)
    for name in _PROJECT_FILES:
        shutil.copyfile(checkout / name, stage / name)


def _shared_texts(assignment: Path, reference: Path) -> list[str]:
    """Return texts that students may see by design, although the reference contains them too."""
    texts = [
        content.decode()
        for name, content in _handout(assignment).items()
        if name.endswith((".py", ".cu", ".md", ".toml"))
    ]
    # Public cases and targets show the docstring of their generator, written in the reference.
    texts += [maker.make.__doc__ or "" for maker in load_cases(reference).values()]
    return texts + [one.make.__doc__ or "" for one in load_workloads(reference).values()]


def notebook_of(starter: str) -> str:
    """Return the notebook of a starter module.

    Raises:
        AuthorError: if no cell is tagged `export`.
    """
    notebook = jupytext.reads(starter, fmt="py:percent")
    tags = [tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])]
    if ANSWER_TAG not in tags:
        raise AuthorError(
            "starter.py: no answer cell",
            hint=f'start cells to be filled in with the line `# %% tags=["{ANSWER_TAG}"]`',
        )
    for number, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"cell-{number:02d}"  # jupytext draws random ones
    python = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook["metadata"] = nbformat.from_dict(
        {"kernelspec": python, "language_info": {"name": "python"}}
    )
    notebook["nbformat"], notebook["nbformat_minor"] = 4, 5
    nbformat.validate(notebook)
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def refresh_notebook(assignment: Path) -> bool:
    """Write `starter.ipynb` again if `starter.py` has changed; return whether it was written.

    Raises:
        AuthorError: if `starter.py` is missing or has no answer cell.
    """
    source = assignment / "starter.py"
    if not source.is_file():
        raise AuthorError(f"{source}: not found", hint="every assignment needs a starter")
    notebook = notebook_of(source.read_text(encoding="utf-8"))
    return write_if_changed(assignment / "starter.ipynb", notebook)


def find_leaks(
    members: Mapping[str, bytes], reference: Path, shared: Iterable[str]
) -> tuple[str, ...]:
    """Return a sentence for every piece of `reference` in `members`.

    Args:
        members: the bundle's files by name; archives among them are searched too.
        reference: folder with the answers.
        shared: texts that students may see by design; their lines are no leaks.
    """
    files = {
        path: path.read_bytes()
        for path in sorted(reference.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    names = {path.relative_to(reference).as_posix(): path for path in files}
    for file in solution_files(reference)[1:]:
        files[reference.parent.parent / file.name] = file.text.encode()
    opened = dict(_open_archives(members))
    sources = {content: path for path, content in files.items() if content}
    leaks: list[str] = []
    for name, content in opened.items():
        if content in sources:
            leaks.append(f"{name} is a copy of {sources[content]}")
        inside = name.rsplit("!", 1)[-1]
        if not inside.startswith(PACKAGE_PREFIX):
            leaks += [
                f"{name} has the same name as {path}"
                for tail, path in names.items()
                if f"/{inside}".endswith(f"/{tail}")
            ]
    leaks += _line_leaks(opened, files, shared)
    return tuple(leaks)


def long_lines(text: str) -> set[str]:
    """Return the stripped lines of `text` that are too long to be equal by chance."""
    lines = (line.strip() for line in text.splitlines())
    return {line for line in lines if len(line) >= MIN_LINE_CHARACTERS}


def _line_leaks(
    opened: Mapping[str, bytes], files: Mapping[Path, bytes], shared: Iterable[str]
) -> list[str]:
    known = set().union(*(long_lines(text) for text in shared))
    everything = b"\n".join(opened.values())
    leaks: list[str] = []
    for path, content in files.items():
        for line in sorted(long_lines(content.decode("utf-8", errors="replace")) - known):
            if line.startswith(_COMMON) or _TEXT_FOR_STUDENTS.match(line):
                continue
            forms = {line.encode(), json.dumps(line)[1:-1].encode()}
            if any(form in everything for form in forms):
                where = next(n for n, c in opened.items() if any(form in c for form in forms))
                leaks.append(f"{where} contains a line of {path}: {line}")
    return leaks


def _open_archives(members: Mapping[str, bytes]) -> Iterable[tuple[str, bytes]]:
    for name, content in members.items():
        yield name, content
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                inner = {f"{name}!{inside}": archive.read(inside) for inside in archive.namelist()}
            yield from _open_archives(inner)
