"""The files that a student starts with: starter, handout, harness and `.grader.toml`."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from grader.assignment.folders import harness_files
from grader.assignment.table import load_assignment
from grader.cuda_cpp.header import header_name, write_header
from grader.errors import UsageError
from grader.intake.files import MARK_FILE
from grader.student.work import CUDA_ENDING, NOTEBOOK_KEY, SUFFIXES, read_mark


def kit_files(assignment: Path, *, suffixes: tuple[str, ...]) -> dict[str, bytes]:
    """Return the files of a kit by name; the assignment's folder is named by its slug.

    Starters to include end in `suffixes`: `.py`, `.ipynb`, or `.cu` (which comes with a header).

    Raises:
        UsageError: if the assignment has no such starter.
    """
    slug, table = assignment.name, load_assignment(assignment)
    files: dict[str, bytes] = {}
    for suffix in suffixes:
        starter = assignment / f"starter{suffix}"
        if not starter.is_file():
            hint = f"ask the course staff; `grader release {slug}` makes it"
            raise UsageError(f"{slug} has no {starter.name}", hint=hint)
        files[f"{slug}{suffix}"] = _named(starter, slug).encode()
    if (assignment / "README.md").is_file():
        files["README.md"] = (assignment / "README.md").read_bytes()
    files |= {file.name: file.text.encode() for file in harness_files(assignment)}
    if CUDA_ENDING in suffixes:
        files[header_name(slug)] = write_header(slug, table.launchers).encode()
    files[MARK_FILE] = _mark(slug, table.version, files).encode()
    return files


def write_kit(files: Mapping[str, bytes], folder: Path, *, force: bool) -> tuple[Path, ...]:
    """Write a kit and return the files; write nothing if an existing file would be lost.

    Raises:
        UsageError: if files exist with other content and `force` is not set; it names them.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} exists and is not a folder", hint="name another folder")
    clashes = [
        name
        for name, content in files.items()
        if (folder / name).exists() and (folder / name).read_bytes() != content
    ]
    if clashes and not force:
        raise UsageError(
            f"{folder}: this would overwrite {', '.join(clashes)}",
            hint="name another folder, or overwrite these files with --force",
        )
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return tuple(folder / name for name in files)


def renew_kit(files: Mapping[str, bytes], folder: Path) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Write a newer kit into a work folder, but for what the student has edited.

    A starter that is not there is not written: the student works in the other one.

    Returns:
        The files that were written, and the names of those that were left as they are.
    """
    mark = read_mark(folder)
    written: list[Path] = []
    kept: list[str] = []
    for name, content in files.items():
        path = folder / name
        if not path.exists():
            if path.stem == mark.slug and path.suffix in SUFFIXES:
                continue
        elif path.read_bytes() == content:
            continue
        elif name != MARK_FILE and _sha256(path.read_bytes()) != mark.untouched.get(name):
            kept.append(name)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        written.append(path)
    return tuple(written), tuple(kept)


def _named(starter: Path, slug: str) -> str:
    """Return the text of a starter with the assignment's name in it.

    It holds no version: an untouched starter is the same under every version that did not change
    it.
    """
    text = starter.read_text(encoding="utf-8")
    if starter.suffix == ".py":
        return f"# grader: {slug}\n{text}"
    if starter.suffix == CUDA_ENDING:
        return text
    notebook = json.loads(text)
    notebook["metadata"][NOTEBOOK_KEY] = {"assignment": slug}
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _mark(slug: str, version: str, files: Mapping[str, bytes]) -> str:
    head = "# Written by `grader init`: the assignment, and the hashes of the unedited files."
    hashes = "".join(f'"{name}" = "{_sha256(content)}"\n' for name, content in files.items())
    return f'{head}\nslug = "{slug}"\nversion = "{version}"\n\n[files]\n{hashes}'


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
