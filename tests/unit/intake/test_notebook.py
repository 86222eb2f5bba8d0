"""What an honest notebook becomes."""

import ast
import json
import re
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import nbformat
import pytest

from grader.intake import BrokenStatement, CellLine, Damage, Origin, Requirements, Submission
from grader.intake.reader.assembly import Wanted
from grader.intake.reader.cells import read_cells
from grader.intake.reader.scope import names_of
from grader.intake.reader.serve import assemble
from grader.intake.submission import NO_REQUIREMENTS
from tests.unit.intake.work import accept, code, notebook, prose, reject, write


def take_cells(
    tmp_path: Path,
    *cells: dict[str, Any],
    requirements: Requirements = NO_REQUIREMENTS,
    **top: Any,
) -> Submission:
    return accept(write(tmp_path / "kv_cache.ipynb", notebook(cells, **top)), requirements)


def assembled(*sources: str, exports: Collection[str] = ()) -> tuple[str, list[str]]:
    """Return module text and notices, read in this process: what a table can afford."""
    cells = read_cells(notebook([code(source) for source in sources]))
    module = assemble(cells, Wanted(exports=frozenset(exports))).module
    return "".join(f"{line.text}\n" for line in module.lines), module.notices


def test_exported_cells_are_the_module_line_by_line(tmp_path: Path) -> None:
    submission = take_cells(
        tmp_path,
        prose("# Title"),
        code("import torch\n\nprint(torch)", "export"),
        code("scratch()"),
        code(["def f():\n", "    pass"], "Export", "other"),
    )
    (file,) = submission.files
    assert submission.origin is Origin.NOTEBOOK
    assert file.name == "kv_cache.py"
    assert file.text == "import torch\n\nprint(torch)\ndef f():\n    pass\n"
    assert file.cell_lines == tuple(
        CellLine(cell=cell, line=line) for cell, line in [(2, 1), (2, 2), (2, 3), (4, 1), (4, 2)]
    )
    assert [file.place_of(line) for line in (1, 5, 9)] == [
        "code cell 1, line 1",
        "code cell 3, line 2",
        "kv_cache.py, line 9",
    ]
    assert submission.notices == ("not run where work is graded: `scratch()` (code cell 2)",)


def test_magics_in_exported_cells_leave_line_numbers_alone(tmp_path: Path) -> None:
    source = (
        "%load_ext autoreload\nif True:\n    !pip install \\\n       torch\n"
        "x = (5\n% 3)\ns = '''\n%no magic\n'''  # it's \\\nfiles = !ls\ntorch.topk??\ny = 'a\\\n!b'"
    )
    submission = take_cells(tmp_path, code(source, "export"))
    assert submission.files[0].text == (
        "\nif True:\n    pass\n\nx = (5\n% 3)\ns = '''\n%no magic\n'''  # it's \\\n\n\n"
        "y = 'a\\\n!b'\n"
    )
    assert submission.notices == (
        "left out, because only a notebook understands it: `%load_ext autoreload`, `!pip install "
        "\\`, `torch`, `files = !ls`, `torch.topk??` (code cell 1)",
    )


def test_python_that_parses_is_never_taken_for_a_magic(tmp_path: Path) -> None:
    source = "x = f(\n    1\n    %time, 2)\ny = '''\n!ls\n'''"
    assert take_cells(tmp_path, code(source, "export")).files[0].text == source + "\n"


@pytest.mark.parametrize("magic", ["%%time", "%%capture out", "%%timeit -n 3"])
def test_python_cell_magics_keep_their_cell(magic: str) -> None:
    assert assembled(f"{magic}\ndef f(): ...")[0] == "\ndef f(): ...\n"


@pytest.mark.parametrize("magic", ["%%bash", "%%writefile x.txt", "%%html", "\n%%javascript"])
def test_other_cell_magics_cost_nothing(magic: str) -> None:
    left_out = f"`{magic.strip()}`, `def f(): ...` (code cell 2)"
    notice = f"left out, because only a notebook understands it: {left_out}"
    assert assembled("kept = 1", f"{magic}\ndef f(): ...") == ("kept = 1\n", [notice])


KEPT = [
    "import torch",
    "from torch.nn import functional as F, Module",
    "def f(x, *, y=1):\n    # why\n    return x",
    "async def f(): ...",
    "class A:\n    '''Doc.'''\n    n: int = 3\n    m = n\n    def f(self, k=m) -> 'A': ...",
    "N = 3",
    "A, B = 1, -2.5",
    "BIG = 1 << 20\nHALF = BIG // 2",
    "NAMES = {'a': [1, (2, None)], 'b': {3}}",
    "import torch\nF = torch.nn.functional\nDTYPE = torch.float32",
    "import math\nNEG = -math.inf\nROOT = math.sqrt(2)",
    "Pair = tuple[int, int]\nMaybe = Pair | None",
    "from typing import TypeVar\nT = TypeVar('T', bound=int)",
    "x: int = 3",
    "import torch\nDEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'",
    "def f(): ...\ng = f\nh = lambda x: unknown(x)",
    "class A: ...\ndef f(self): ...\nA.f = f",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas",
    "try:\n    import triton\nexcept ImportError:\n    print('none')\n    triton = None",
    "try:\n    import tqdm\nexcept ImportError:\n    tqdm = None",
    "HAS = True\nif HAS:\n    def f(): ...\nelse:\n    f = None",
    "import functools\n@functools.cache\ndef f(): ...",
    "def f(x: [i for i in range(3)] = lambda q: q): ...",
]


@pytest.mark.parametrize("source", KEPT)
def test_what_is_needed_is_kept(source: str) -> None:
    names = {name for node in ast.parse(source).body for name in names_of(node).binds}
    assert assembled(source, exports=names) == (source + "\n", [])


DROPPED = [
    "plt.plot(x)",
    "x = torch.randn(3)",
    "y = undefined.attribute",
    "1 / 0",
    "x = 1 / 0",
    "raise ValueError",
    "for i in range(3):\n    print(i)",
    "with open('x') as f:\n    data = f.read()",
    "assert kept == 1",
    "value = [1, 2][5]",
    "if __name__ == '__main__':\n    main()",
    "try:\n    import tqdm\nexcept ImportError:\n    install()",
    "x[0] = 1",
]


@pytest.mark.parametrize("source", DROPPED)
def test_dropped_statements_are_told(source: str) -> None:
    text, (notice,) = assembled("kept = 1", source, exports={"kept"})
    name = source.partition(" = ")[0]
    assert text == "kept = 1\n"
    assert notice in (
        f"not run where work is graded: `{source.splitlines()[0]}` (code cell 2)",
        f"not graded, because no graded code uses it: `{name}` (code cell 2)",
    )


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from google.colab import drive", "google.colab"),
        ("import google.colab.files", "google.colab.files"),
        ("import matplotlib.pyplot as plt", "matplotlib.pyplot"),
        ("from IPython.display import display", "IPython.display"),
        ("import ipywidgets", "ipywidgets"),
    ],
)
def test_imports_that_the_worker_lacks_cost_nothing(source: str, module: str) -> None:
    reason = "it is not there where work is graded, and no graded code uses it"
    notice = f"left out, because {reason}: `{module}` (code cell 1)"
    assert assembled(f"{source}\nimport math") == ("import math\n", [notice])


def test_the_students_tool_is_inert() -> None:
    check = "from grader.student import check\nresult = check('f', f)\ncheck('f', f)"
    assert assembled("def f(): ...", check) == ("def f(): ...\n", [])


def test_import_of_several_modules_loses_only_the_missing_ones(tmp_path: Path) -> None:
    submission = take_cells(tmp_path, code("import torch, seaborn as sns, math; sns.set()"))
    assert submission.files[0].text == "import torch, math; pass\n"
    assert len(submission.notices) == 2


def test_definition_that_would_break_the_import_is_left_out(tmp_path: Path) -> None:
    submission = take_cells(
        tmp_path,
        code("import pytest\nconfig = load()"),
        code("@pytest.mark.slow\ndef test_it(): ...\nx = 1"),
        code("class Model:\n    size = config.size"),
        code("def solution(x): return test_it, Model"),
        requirements=Requirements(exports=("solution",)),
    )
    assert submission.files[0].text == (
        "import pytest\n@pytest.mark.slow\ndef test_it(): ...\n"
        "def solution(x): return test_it, Model\n"
    )
    config, pytest_ = submission.broken
    assert (config.kind, config.names) == (Damage.MISSING, ("Model", "config"))
    assert config.text == (
        "code cell 1, line 2: NameError: name 'load' is not defined: `config = load()`"
    )
    assert (pytest_.kind, pytest_.names) == (Damage.IMPORT, ("pytest",))
    assert pytest_.message.startswith("ModuleNotFoundError: No module named 'pytest' where")
    assert "`test_it` uses it" in pytest_.message


def test_definition_that_only_needs_what_goes_goes_with_it() -> None:
    text, (imported, needs) = assembled(
        "import pytest", "@pytest.mark.slow\ndef test_it(): ...\nx = 1", exports={"x"}
    )
    assert text == "x = 1\n"
    assert "`pytest`" in imported
    assert "`test_it` needs `pytest` (code cell 2)" in needs


def test_future_imports_come_first_and_spare_annotations(tmp_path: Path) -> None:
    sources = ("import math", "from __future__ import annotations\ndef f(x: unknown): ...")
    submission = take_cells(tmp_path, *map(code, sources))
    (file,) = submission.files
    assert file.text == "from __future__ import annotations\nimport math\ndef f(x: unknown): ...\n"
    assert [(c.cell, c.line) for c in file.cell_lines] == [(2, 1), (1, 1), (2, 2)]
    exported = take_cells(tmp_path, *(code(source, "export") for source in sources)).files[0]
    assert exported.text.startswith("from __future__ import annotations\nimport math\n\ndef f")
    compile(exported.text, "x", "exec")


def test_comments_stay_and_line_map_skips_what_was_dropped(tmp_path: Path) -> None:
    source = (
        "# one\nplt.plot(\n  1)  # gone\nx = 1; print(x); y = 2  # kept\n\nz = (1,\n  2); print()\n"
    )
    submission = take_cells(tmp_path, code(source))
    (file,) = submission.files
    assert file.text == "# one\nx = 1; pass; y = 2  # kept\n\nz = (1,\n  2); pass\n\n"
    assert [c.line for c in file.cell_lines] == [1, 4, 5, 6, 7, 8]
    assert submission.notices == (
        "not run where work is graded: `plt.plot(`, `print(x)`, `print()` (code cell 1)",
    )


def test_statement_with_a_syntax_error_is_left_out_and_told(tmp_path: Path) -> None:
    submission = take_cells(
        tmp_path, code("x = 1"), prose(""), code("a = 1\n\nb = = 2\ndef c(): ..."), code("y = 2")
    )
    assert submission.files[0].text == "x = 1\na = 1\n\n\ndef c(): ...\ny = 2\n"
    (broken,) = submission.broken
    assert broken == BrokenStatement(
        kind=Damage.SYNTAX,
        names=("b",),
        place="code cell 2, line 3",
        message="SyntaxError: invalid syntax: `b = = 2`",
    )
    assert submission.notices == (broken.text,)
    for lines in ("def f():\n    break", "return 1", "(" * 1000):
        text, (notice,) = assembled("x = 1", lines)
        assert text == "x = 1\n"
        assert re.match(r"code cell 2, line \d: SyntaxError: ", notice)


def test_scratch_and_course_tests_are_not_used(tmp_path: Path) -> None:
    submission = take_cells(
        tmp_path,
        code("broken = (", "scratch"),
        code("def f(): ...", nbgrader={"grade": False, "solution": True, "locked": False}),
        code("def g(): ...", "otter_answer_cell"),
        code("def h(): ...", nbgrader={"grade": True, "solution": True}),
        code("t = 1", nbgrader={"grade": True, "solution": False, "points": 2}),
    )
    assert submission.files[0].text == "def f(): ...\ndef g(): ...\ndef h(): ...\n"
    assert submission.notices == (
        "not used, because it is one of the course's own tests: `t = 1` (code cell 5)",
    )


def test_indented_cell_is_read_as_notebooks_run_it() -> None:
    text, _ = assembled("  x = 1\n  def f():\n      return x")
    assert text == "x = 1\ndef f():\n    return x\n"


def test_outputs_fall_away_and_large_ones_are_told(tmp_path: Path) -> None:
    cell = code("x = 1")
    cell["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": ["é" + "y" * 999] * 50_000}
    ]
    submission = take_cells(tmp_path, cell)
    assert submission.files[0].text == "x = 1\n"
    (notice,) = submission.notices
    assert "(48.1 MiB)" in notice
    assert len(submission.notebook_json) < 1000
    cell["outputs"] = cell["outputs"] * 2
    path = write(tmp_path / "kv_cache.ipynb", notebook([cell]))
    assert "at most 64 MiB, found 96.2 MiB" in reject(path).message


def test_rebuilt_notebook_is_valid_and_has_the_same_cells(tmp_path: Path) -> None:
    form = [
        prose("# É <b>"),
        code(["x = 1\n", "y = 2"], "export"),
        {**prose("r"), "cell_type": "raw"},
    ]
    submission = take_cells(tmp_path, *form)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rebuilt = nbformat.reads(submission.notebook_json, as_version=4)
        nbformat.validate(rebuilt)
    assert [cell.cell_type for cell in rebuilt.cells] == ["markdown", "code", "raw"]
    assert rebuilt.cells[1].source == "x = 1\ny = 2"
    assert rebuilt.cells[1].metadata.tags == ["export"]


@pytest.mark.parametrize("minor", [0, 1, 2, 4, 5])
def test_any_minor_of_format_4(tmp_path: Path, minor: int) -> None:
    cell = {"cell_type": "code", "metadata": {}, "source": ["x = 1\r\n", "y = 2"], "outputs": []}
    submission = take_cells(tmp_path, cell, nbformat_minor=minor)
    assert submission.files[0].text == "x = 1\ny = 2\n"


def test_format_3(tmp_path: Path) -> None:
    form = {
        "metadata": {"name": "old"},
        "nbformat": 3,
        "nbformat_minor": 0,
        "worksheets": [
            {
                "cells": [
                    {"cell_type": "heading", "level": 1, "source": "T", "metadata": {}},
                    {"cell_type": "code", "input": ["x = 1\n", "y = 2"], "language": "python"},
                ]
            }
        ],
    }
    submission = accept(write(tmp_path / "kv_cache.ipynb", json.dumps(form)))
    assert submission.files[0].text == "x = 1\ny = 2\n"
    assert submission.files[0].cell_lines[1] == CellLine(cell=2, line=2)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"kernelspec": {"name": "my-env", "display_name": "x", "language": "python"}},
        {"kernelspec": {"name": "python3"}, "language_info": {"name": "Python"}},
        {"kernelspec": {"name": "conda-env-ir"}, "language_info": {"name": "ipython"}},
    ],
)
def test_python_kernels_of_any_name(tmp_path: Path, metadata: dict[str, Any]) -> None:
    assert take_cells(tmp_path, code("x = 1"), metadata=metadata).entry == "kv_cache"


def test_prose_beyond_its_limit_is_left_out_of_the_rebuilt_notebook(tmp_path: Path) -> None:
    submission = take_cells(tmp_path, prose("a" * (5 << 20)), code("x = 1"), prose("kept"))
    assert len(submission.notebook_json) < 2000
    assert "5242880 characters" in submission.notebook_json
    assert "kept" in submission.notebook_json


def test_notices_have_an_end() -> None:
    _, (notice,) = assembled("kept = 1", *["print()"] * 80)
    assert notice.endswith("(code cell 9) and 72 more")
    _, notices = assembled("kept = 1", *["x = ("] * 80)
    assert len(notices) == 50
