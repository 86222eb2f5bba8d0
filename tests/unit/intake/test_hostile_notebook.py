"""What a notebook can do to whoever reads it: each ends as a message for the student."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grader.errors import IntakeError, SandboxError
from grader.intake import Rejected, Submission
from grader.intake import notebook as notebook_reader
from grader.intake.reader.assembly import Wanted
from grader.intake.reader.cells import Refusal, read_cells
from grader.intake.reader.serve import assemble
from tests.unit.intake.work import accept, code, notebook, prose, reject, take, write


def refuse(content: bytes) -> Refusal:
    """Read in this process: what a table of small documents can afford."""
    with pytest.raises(Refusal) as raised:
        assemble(read_cells(content), Wanted())
    assert raised.value.hint
    assert raised.value.message.startswith("expected")
    return raised.value


def reject_notebook(tmp_path: Path, content: bytes | str) -> Rejected:
    return reject(write(tmp_path / "kv_cache.ipynb", content))


FROM = "from reader import serve;"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty file"),
        (b"\x00\x01\x02", "not JSON"),
        (b"\xff\xfe{\x00}\x00", "`nbformat` nothing"),
        (b"\xff\xfe\x00\xd8", "byte 0x00"),
        (b'{"cells": "\xe9"}', "byte 0xe9"),
        (b"print(1)", "not JSON at line 1"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"[]", "found a list"),
        (b"null", "found nothing"),
        (b"7", "found 7"),
        (b"{}", "`nbformat` nothing"),
        (b'{"nbformat": NaN}', "NaN"),
        (b'{"nbformat": Infinity}', "Infinity"),
        (b'{"nbformat": 4, "nbformat": 3}', "`nbformat` twice"),
        (b'{"nbformat": ' + b"9" * 5000 + b"}", "number that is too long"),
        (b'{"nbformat": true, "cells": []}', "`nbformat` true"),
        (b'{"nbformat": 2, "worksheets": []}', "`nbformat` 2"),
        (b'{"nbformat": 5, "cells": []}', "`nbformat` 5"),
        (b'{"nbformat": 4}', "`cells` in the notebook, found none"),
        (b'{"nbformat": 3, "worksheets": [1]}', "a worksheet, found 1"),
    ],
)
def test_a_broken_notebook_is_refused(content: bytes, found: str) -> None:
    assert found in refuse(content).message


@pytest.mark.parametrize("content", [b"", b"[" * 200_000, b"print(1)", b'{"nbformat": NaN}'])
def test_a_broken_notebook_is_rejected(tmp_path: Path, content: bytes) -> None:
    rejected = reject_notebook(tmp_path, content)
    assert rejected.message == f"kv_cache.ipynb: {refuse(content).message}"
    assert len(rejected.sha256) == 64


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ({}, "`cells` of the notebook, found an object"),
        ([1], "cell 1, found 1"),
        ([code("x = 1"), None], "cell 2, found nothing"),
        ([{**code(""), "source": 7}], "`source` of cell 1, found 7"),
        ([{**code(""), "source": ["a", 7]}], "a line in `source` of cell 1, found 7"),
        ([{**code(""), "source": {}}], "`source` of cell 1, found an object"),
        ([{"cell_type": "code", "metadata": {}}], "`source` of cell 1, found nothing"),
        ([{**code(""), "cell_type": "evil"}], "found `evil`"),
        ([{**code(""), "cell_type": []}], "found a list"),
        ([{**code(""), "metadata": []}], "`metadata` of cell 1, found a list"),
        ([{**code(""), "metadata": {"tags": {"export": 1}}}], "`tags` of cell 1, found an object"),
        ([{**code(""), "metadata": {"tags": [1.5]}}], "an entry of `tags` of cell 1, found 1.5"),
        ([{**code(""), "metadata": {"tags": ["x"] * 99}}], "at most 50 tags of 100 characters"),
        ([{**code(""), "metadata": {"nbgrader": 1}}], "`nbgrader` of cell 1, found 1"),
        ([code("x = '\ud800'")], "cell 1, found binary data"),
        ([code("x = '\0'")], "cell 1, found binary data"),
        ([code("")] * 2001, "at most 2000 cells, found 2001"),
        ([], "code cells, found none among 0 cells"),
        ([prose("x = 1")], "code cells, found none among 1 cells"),
        ([code("print(1)"), code("")], "found none in 2 code cells"),
        ([code("", "export"), code("print(1)")], "tagged `export`"),
        ([code("#" * (2 << 20))], "at most 1 MiB of code"),
    ],
)
def test_wrong_shapes_are_refused(cells: Any, found: str) -> None:
    form = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    assert found in refuse(json.dumps(form).encode()).message


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (("# " + "é" * 998 + "\n") * 700, "the code of kv_cache.ipynb"),
        ("# coding: utf-7\nx = 1", "encoding 'utf-7'"),
    ],
)
def test_module_rules_hold_for_notebooks(tmp_path: Path, source: str, found: str) -> None:
    assert found in reject_notebook(tmp_path, notebook([code(source, "export")])).message


@pytest.mark.parametrize(
    "metadata",
    [
        {"kernelspec": {"name": "ir", "display_name": "R", "language": "R"}},
        {"kernelspec": {"name": "ir"}},
        {"kernelspec": {"name": "julia-1.9"}},
        {"kernelspec": {"name": "python3"}, "language_info": {"name": "R"}},
        {"kernelspec": {"name": "python3", "language": "bash"}},
    ],
)
def test_other_kernels_are_refused(metadata: dict[str, Any]) -> None:
    refusal = refuse(notebook([code("x = 1")], metadata=metadata))
    assert "Python kernel" in refusal.message
    assert "Kernel" in refusal.hint


@pytest.mark.parametrize(
    "metadata",
    [[], {"kernelspec": 1}, {"kernelspec": {"name": 1}}, {"language_info": {"name": {}}}],
)
def test_metadata_of_wrong_types_is_refused(metadata: Any) -> None:
    refuse(notebook([code("x = 1")], metadata=metadata))


@pytest.mark.parametrize(
    "source",
    [
        "(" * 5000 + ")" * 5000,
        "-" * 100_000 + "1",
        "x = " + "[" * 90 + "1" + "]" * 90 + ".a" * 50_000,
        "x = " + "1+" * 50_000 + "1",
        "x" + " = x" * 50_000,
        "if 1:\n" + "".join(" " * n + "if 1:\n" for n in range(1, 90)) + " " * 90 + "pass",
        "lambda: " * 30_000 + "1",
        "f'" + "{" * 100_000,
        "a\\\n" * 50_000,
        "if 1: pass\n" + "elif 2: pass\n" * 400,
    ],
    ids=[
        "brackets",
        "signs",
        "attributes",
        "sums",
        "targets",
        "blocks",
        "lambdas",
        "f",
        "lines",
        "elif",
    ],
)
def test_code_that_exhausts_a_parser_costs_at_most_itself(tmp_path: Path, source: str) -> None:
    submission = take(
        write(tmp_path / "kv_cache.ipynb", notebook([code(source), code("good = 1")]))
    )
    if isinstance(submission, Submission):
        assert "good = 1\n" in submission.files[0].text
    else:
        assert submission.hint


def test_json_that_fills_the_memory_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = "from reader import serve; serve.MEMORY_BYTES = 64 << 20;"
    run_reader_as(monkeypatch, notebook_reader.READER_ENTRY.replace(FROM, limit))
    cells = b'{"nbformat": 4, "x": [' + b"[]," * (1 << 20) + b"[]]}"
    assert "memory" in reject_notebook(tmp_path, cells).message


def test_nothing_is_executed(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    attack = f"open({str(trace)!r}, 'w')"
    sources = [
        attack,
        f"def f(x={attack}): ...",
        f"@{attack}\nclass A: ...",
        f"# -*- coding: x -*-\n%run {attack}\n!touch {trace}\nx = !touch {trace}",
    ]
    accept(write(tmp_path / "kv_cache.ipynb", notebook([*map(code, sources), code("x = 1")])))
    assert not trace.exists()


def test_reader_imports_nothing_from_the_students_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "json.py", "raise SystemExit(3)")
    write(tmp_path / "sitecustomize.py", "raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    accept(write(tmp_path / "w" / "kv_cache.ipynb", notebook([code("x = 1")])))


def run_reader_as(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(notebook_reader, "READER_ENTRY", program)


@pytest.mark.parametrize(
    "program",
    [
        "import os; os.kill(os.getpid(), 11)",
        "raise SystemExit(1)",
        "import os; os.kill(os.getpid(), 24)",
        "print('rubbish')",
        "print('[]')",
        "print('{}')",
        'print(\'{"lines": [[1]], "notices": [], "cells": []}\')',
        "pass",
    ],
)
def test_reader_that_fails_is_a_rejection(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    run_reader_as(monkeypatch, program)
    with pytest.raises(IntakeError, match="cannot") as raised:
        notebook_reader.read_notebook(notebook([code("x = 1")]))
    assert raised.value.hint


def test_reader_that_the_machine_ends_or_starves_is_our_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_reader_as(monkeypatch, "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(SandboxError):
        notebook_reader.read_notebook(b"{}")
    run_reader_as(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(notebook_reader, "WALL_SECONDS", 0.2)
    started = time.monotonic()
    with pytest.raises(SandboxError):
        notebook_reader.read_notebook(b"{}")
    assert time.monotonic() - started < 10


def test_reader_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    accept(write(tmp_path / "kv_cache.ipynb", notebook([code("x = 1")])))
    assert not list((tmp_path / "tmp").iterdir())


@pytest.fixture
def many() -> Iterator[None]:
    with notebook_reader.one_reader():
        yield


@pytest.mark.usefixtures("many")
def test_one_reader_reads_what_readers_of_their_own_read(tmp_path: Path) -> None:
    good, deep = notebook([code("x = 1")]), b"[" * 200_000
    assert notebook_reader.read_notebook(good).source.files[0].text == "x = 1\n"
    assert "nested too deeply" in reject_notebook(tmp_path, deep).message
    assert notebook_reader.read_notebook(good).source.files[0].text == "x = 1\n"


@pytest.mark.usefixtures("many")
def test_one_reader_keeps_a_notebook_that_fills_the_memory_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = "from reader import serve; serve.MEMORY_BYTES = 64 << 20;"
    run_reader_as(monkeypatch, notebook_reader.READER_ENTRY.replace(FROM, limit))
    cells = b'{"nbformat": 4, "x": [' + b"[]," * (1 << 20) + b"[]]}"
    assert "memory" in reject_notebook(tmp_path, cells).message
    assert (
        notebook_reader.read_notebook(notebook([code("x = 1")])).source.files[0].text == "x = 1\n"
    )


@pytest.mark.usefixtures("many")
def test_one_reader_tells_how_a_reader_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    dies = (
        "from reader import serve; serve._answer = lambda *_: serve.os.kill(serve.os.getpid(), 9);"
    )
    run_reader_as(monkeypatch, notebook_reader.READER_ENTRY.replace(FROM, dies))
    for _ in range(2):  # the process that forks it lives on
        with pytest.raises(SandboxError, match="the machine ended"):
            notebook_reader.read_notebook(b"{}")


@pytest.mark.usefixtures("many")
def test_one_reader_that_is_lost_or_stuck_is_our_fault_and_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_reader_as(monkeypatch, "raise SystemExit(1)")
    with pytest.raises(SandboxError, match="cannot read a notebook"):
        notebook_reader.read_notebook(b"{}")
    run_reader_as(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(notebook_reader, "WALL_SECONDS", 0.2)
    with pytest.raises(SandboxError, match="cannot read a notebook"):
        notebook_reader.read_notebook(b"{}")
    monkeypatch.undo()
    assert (
        notebook_reader.read_notebook(notebook([code("x = 1")])).source.files[0].text == "x = 1\n"
    )
