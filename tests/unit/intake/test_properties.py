"""What holds for whatever is handed in."""

import ast
import json
import random
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grader.errors import UsageError
from grader.intake import Rejected, Submission, collect, load_submission
from grader.intake.reader.assembly import Wanted
from grader.intake.reader.cells import Cell, Refusal, read_cells
from grader.intake.reader.serve import assemble
from tests.unit.intake.work import GOOD, SLUG, code, notebook, write, zipped

SMALL = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
FEW = settings(SMALL, max_examples=12)  # each starts an interpreter

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
SOURCES = st.lists(
    st.sampled_from(
        [
            "import torch",
            "import matplotlib.pyplot as plt",
            "x = 1; print(x); y = x",
            "print(",
            "%matplotlib inline",
            "!ls \\",
            "def f(a,\n      b=2):\n    '''d\n\n    !no\n    '''\n    return a",
            "class A:\n    x = 1",
            "plt.plot(\n  1,\n)",
            "# comment",
            "",
            "\\",
            "é = 'ü'; print(é)",
            "from __future__ import annotations",
            "z = '''\n%x\n'''",
            "\x0c",
            "if x:\n    %time f()",
        ]
    )
    | st.text(max_size=12),
    max_size=6,
).map("\n".join)


def take_bytes(name: str, content: bytes) -> Submission | Rejected:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / name, content)
        (handed,) = collect([path], SLUG)
        return load_submission(handed, slug=SLUG)


def check_taken(submission: Submission | Rejected) -> None:
    if isinstance(submission, Rejected):
        assert submission.message
        assert submission.hint
        return
    assert submission.files[0].name == f"{submission.entry}.py"
    for file in submission.files:
        file.text.encode()
        assert len(file.cell_lines) in (0, file.text.count("\n"))


@FEW
@given(st.binary(max_size=300))
def test_arbitrary_modules_never_raise(content: bytes) -> None:
    check_taken(take_bytes("kv_cache.py", content))


@SMALL
@given(st.binary(max_size=300))
def test_arbitrary_zips_never_raise(content: bytes) -> None:
    check_taken(take_bytes("kv_cache.zip", content))


@FEW
@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6), st.booleans())
def test_damaged_zips_never_raise(flips: list[tuple[int, int]], cut: bool) -> None:
    content = bytearray(zipped({"kv_cache.py": GOOD * 9, "more.py": GOOD, "d/x.txt": "x"}))
    for position, value in flips:
        content[position % len(content)] = value
    end = random.Random(len(flips)).randrange(len(content)) if cut else len(content)
    path_content = bytes(content[:end])
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "kv_cache.zip", path_content)
        beside = write(Path(folder) / "other.py", GOOD)
        for handed in collect([path, beside], SLUG):
            check_taken(load_submission(handed, slug=SLUG))


PARTS = st.sampled_from(
    [
        *("kv_cache.py", "kv_cache.ipynb.json", "a.zip", "src", "..", "", ".", ".git", "hw1-ann"),
        *("A_1_assignsubmission_file_", "1-2 - A - Feb 3, 2026 1011 AM", "index.html", "é"),
        *("HW_a_attempt_2026-02-03-10-11-12", "submission_1", "submission_metadata.yml", "x.pdf"),
        *(
            "pyvenv.cfg",
            "lib",
            ".grader.toml",
            "a_1_2_kv_cache.py",
            "assignment_1_export",
            "x" * 300,
        ),
    ]
) | st.text(max_size=4)
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
PATHS = PATHS.filter(lambda name: name != "" and "\0" not in name)  # zipfile writes neither


@SMALL
@given(st.dictionaries(PATHS, st.sampled_from([GOOD, "", "x: ["]), max_size=6))
def test_arbitrary_names_in_a_class_never_raise(files: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "class.zip", zipped(files))
        with suppress(UsageError):
            sources = collect([path], SLUG)
            assert len({source.name for source in sources}) == len(sources)
            for source in sources:
                check_taken(load_submission(source, slug=SLUG))


@FEW
@given(st.binary(max_size=300))
def test_arbitrary_notebooks_never_raise(content: bytes) -> None:
    check_taken(take_bytes("kv_cache.ipynb", content))


@FEW
@given(JSON, JSON)
def test_arbitrary_json_never_raises(cells: Any, metadata: Any) -> None:
    form = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    check_taken(take_bytes("kv_cache.ipynb", json.dumps(form).encode()))


@SMALL
@given(st.binary(max_size=200) | JSON.map(lambda form: json.dumps(form).encode()))
def test_reader_ends_in_cells_or_a_refusal(raw: bytes) -> None:
    with suppress(Refusal):
        assert all(isinstance(cell, Cell) for cell in read_cells(raw))


@SMALL
@given(st.lists(JSON | st.builds(code, st.text() | JSON), max_size=4))
def test_arbitrary_cells_end_in_a_module_or_a_refusal(cells: list[Any]) -> None:
    with suppress(Refusal):
        module = assemble(read_cells(notebook(cells)), Wanted()).module
        ast.parse("\n".join(line.text for line in module.lines))


@settings(SMALL, max_examples=150)
@given(st.lists(st.tuples(SOURCES, st.sampled_from(["", "scratch"])), min_size=1, max_size=4))
def test_untagged_module_parses_and_maps_every_line(cells: list[tuple[str, str]]) -> None:
    raw = notebook([code(source, *([tag] if tag else [])) for source, tag in cells])
    try:
        read = read_cells(raw)
        module = assemble(read, Wanted()).module
    except Refusal:
        return
    text = "\n".join(line.text for line in module.lines)
    ast.parse(text)
    for line in module.body:
        assert "scratch" not in read[line.cell - 1].tags
        original = read[line.cell - 1].source.split("\n")[line.line - 1]
        first = line.text.lstrip().split("pass")[0].rstrip("; ")
        assert first in original or line.text.startswith("import ")


@settings(SMALL, max_examples=150)
@given(st.lists(SOURCES, min_size=1, max_size=4))
def test_exported_lines_keep_their_locations(sources: list[str]) -> None:
    try:
        read = read_cells(notebook([code(source, "export") for source in sources]))
        module = assemble(read, Wanted()).module
    except Refusal:
        return
    expected = [
        (cell.number, line) for cell in read for line in range(1, cell.source.count("\n") + 2)
    ]
    assert [(line.cell, line.line) for line in module.body] == expected
    for line in module.body:
        original = read[line.cell - 1].source.split("\n")[line.line - 1]
        assert (
            line.text in ("", original, original.strip())
            or "pass" in line.text
            or (original.endswith(line.text))
        )
