"""A student with the notebook, executed as Jupyter does, from `init` to the grade."""

import shutil

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from tests.flows.desk import SLUG, Course, Desk, open_course

pytestmark = pytest.mark.filterwarnings("default")  # those of the libraries that start a kernel
NOTEBOOK, ZIP = f"{SLUG}.ipynb", f"{SLUG}-submission.zip"
HELPER = """\
print("a look at the data")
SCALE = torch.ones(1)
def biggest(x):
    return x.amax(dim=-1, keepdim=True) * SCALE
"""
PLOT = "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])"


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    course = open_course(tmp_path_factory.mktemp("course"))
    course.desk.types(f"grader release {SLUG} --out out")
    return course


@pytest.fixture(scope="module")
def ada(course: Course, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A student with the starter notebook and nothing else."""
    ada = course.student(tmp_path_factory.mktemp("ada"))
    bundle = course.desk.folder / "out" / f"{SLUG}-1.0.zip"
    printed = ada.types(f"grader init {bundle.as_posix()} hw --notebook")
    assert f"edit {NOTEBOOK}, then run: grader check hw" in printed
    assert not (ada.folder / "hw" / f"{SLUG}.py").exists()
    return ada.at("hw")


def write_answers(ada: Desk, function: str, class_text: str) -> NotebookNode:
    """Return the starter notebook with answers in its cells, and what students add between."""
    notebook = nbformat.read(ada.folder / NOTEBOOK, as_version=4)
    exports = [cell for cell in notebook.cells if "export" in cell.metadata.get("tags", [])]
    _, exports[1].source, exports[2].source = "", function, class_text
    notebook.cells.insert(notebook.cells.index(exports[1]), new_code_cell(HELPER))
    notebook.cells.insert(len(notebook.cells) - 1, new_code_cell(PLOT))
    return notebook


def execute(notebook: NotebookNode, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run all cells as Jupyter does; return what each display of the last cell says, as text."""
    monkeypatch.setenv("GRADER_HOME", str(desk.home))
    place = {"metadata": {"path": str(desk.folder)}}
    NotebookClient(notebook, timeout=200, allow_errors=True, resources=place).execute()
    outputs = notebook.cells[-1].outputs
    return [one.data["text/plain"] for one in outputs if one.output_type == "display_data"]


def save(notebook: NotebookNode, ada: Desk, name: str) -> Desk:
    """Return the desk in a copy of the student's folder that holds this notebook."""
    folder = ada.folder.parent / name
    shutil.copytree(ada.folder, folder)
    nbformat.write(notebook, folder / NOTEBOOK)
    return Desk(folder=folder, home=ada.home)


def grade(course: Course, desk: Desk, name: str) -> dict[str, float]:
    """Return the points of each problem of a zip, graded by itself."""
    folder = course.desk.folder / "handed-in" / name
    folder.mkdir(parents=True)
    shutil.copy(desk.folder / ZIP, folder)
    (record,) = course.desk.reads(
        f"grader grade {SLUG} handed-in/{name} --out grades-{name} --sandbox none --json"
    )
    points = dict.fromkeys(("log_sum_exp", "RunningLogSumExp"), 0.0)
    for check in record["judgement"]["checks"]:
        points[check["problem"]] += check["points"]
    return points


def test_the_starter_shows_every_check_of_its_last_cell(
    ada: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = nbformat.read(ada.folder / NOTEBOOK, as_version=4)
    first, second = execute(notebook, ada, monkeypatch)
    for shown, problem in ((first, "log_sum_exp"), (second, "RunningLogSumExp")):
        assert problem in shown
        assert "not implemented yet" in shown
        assert len(shown.splitlines()) < 12
        assert "all passed" not in shown.lower()
    html = notebook.cells[-1].outputs[0].data["text/html"]
    assert "<table>" in html
    assert "not implemented yet" in html


def test_a_helper_in_a_cell_without_a_tag_is_graded(
    ada: Desk, course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, class_text = course.answers
    function = function.replace("x.amax(dim=-1, keepdim=True)", "biggest(x)")
    assert "biggest" in function
    notebook = write_answers(ada, function, class_text)
    shown = execute(notebook, ada, monkeypatch)
    assert [text.splitlines()[0] for text in shown] == [
        "public tests passed (3 checks; checks worth 60 of 60 points)",
        "public tests passed (2 checks; checks worth 40 of 40 points)",
    ]
    bob = save(notebook, ada, "bob")
    taken = "graded as well, because graded cells use it: `SCALE`, `biggest` (In [2])"
    for command in ("grader check", "grader pack"):
        printed = bob.types(command)
        assert f"note: {taken}" in printed
        assert '`print("a look at the data")` (In [2]), `plt.plot([1, 2])` (In [5])' in printed
    checked = bob.types(f"grader check {ZIP}")
    assert f"public cases of {NOTEBOOK}" in checked
    assert "checks worth 100 of 100 points" in checked
    assert grade(course, bob, "bob") == {"log_sum_exp": 60, "RunningLogSumExp": 40}
    report = course.desk.folder / "grades-bob" / "students" / "bob" / "feedback.html"
    assert "biggest" in report.read_text(encoding="utf-8")


def test_a_last_cell_that_is_broken_costs_its_problem_only(
    ada: Desk, course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, class_text = course.answers
    notebook = write_answers(ada, function, class_text.replace("_total.log()", "_total.log("))
    (shown,) = execute(notebook, ada, monkeypatch)  # the second call of `check` has nothing to call
    assert "checks worth 60 of 60 points" in shown
    cyd = save(notebook, ada, "cyd")
    printed = cyd.types("grader check", code=1)
    place = "In [4], line 18"
    assert "checks worth 60 of 100 points" in printed
    assert f"where {place}" in printed
    assert printed.count("so RunningLogSumExp is not defined") == 1
    printed = cyd.types("grader pack", code=1)
    assert f"warning: {place}: SyntaxError: '(' was never closed" in printed
    assert "No zip was written" in printed
    cyd.types("grader pack --anyway")
    assert grade(course, cyd, "cyd") == {"log_sum_exp": 60, "RunningLogSumExp": 0}
    report = course.desk.folder / "grades-cyd" / "students" / "cyd" / "report.md"
    told = report.read_text(encoding="utf-8")
    assert "All 8 cases: loading the file: SyntaxError" in told


def test_a_failing_case_can_be_looked_at_in_the_notebook(
    ada: Desk, course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    function, class_text = course.answers
    notebook = write_answers(ada, function, class_text.replace(".sum(dim=1)", ".mean(dim=1)"))
    notebook.cells.append(
        new_code_cell(
            "from grader.student import case\n"
            'c = case("RunningLogSumExp.chunks", 0)\n'
            "print(c.arguments[1][0].shape)\n"
            'result = check("log_sum_exp")\n'
            'check("RunningLogSum")'
        )
    )
    notebook.cells.append(new_code_cell("result"))
    execute(notebook, ada, monkeypatch)
    shown = notebook.cells[-3].outputs[1].data["text/plain"]
    assert "value after 1 chunks" in shown
    assert 'to see it: case("RunningLogSumExp.chunks", 0)' in shown
    printed, table, error = notebook.cells[-2].outputs
    (again,) = notebook.cells[-1].outputs
    assert again.data["text/html"] == table.data["text/html"]
    assert printed.text == "torch.Size([1, 3])\n"
    assert len(error.traceback) == 1
    assert "did you mean 'RunningLogSumExp'?" in error.traceback[0]
