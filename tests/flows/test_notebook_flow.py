"""A starter notebook as a student runs it, cell by cell: every `check` of the last cell is seen."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
EXTRA = """\
from grader.student import case
result = check(kv_bytes)
after = check("no_such_problem")
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of the libraries that start a kernel
def test_every_check_of_the_starters_last_cell_is_shown(tmp_path):
    notebook = nbformat.read(ROOT / "assignments" / "kv_cache" / "starter.ipynb", as_version=4)
    checks = notebook.cells[-1]
    notebook.cells.append(nbformat.v4.new_code_cell(EXTRA))
    notebook.cells.append(nbformat.v4.new_code_cell("result"))
    client = NotebookClient(
        notebook,
        timeout=240,
        allow_errors=True,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    shown = [output for output in checks.outputs if "text/html" in output.get("data", {})]
    problems = [line for line in checks.source.splitlines() if line.startswith("check(")]
    assert len(shown) == len(problems) == 7
    assert {output.output_type for output in checks.outputs} == {"display_data"}
    for output in shown:
        assert "not implemented yet" in output.data["text/html"]
        assert len(output.data["text/plain"].splitlines()) < 12
    assert "SlidingWindowCache" in json.dumps([output.data for output in shown])

    table, error = notebook.cells[-2].outputs
    assert "kv_bytes" in table.data["text/html"]
    assert error.output_type == "error"
    assert len(error.traceback) == 1
    assert "did you mean" in error.traceback[0] or "the problems are" in error.traceback[0]
    (again,) = notebook.cells[-1].outputs
    assert again.data["text/html"] == table.data["text/html"]
