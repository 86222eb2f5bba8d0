"""A student with a module, from the bundle of the course to the grade."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.flows.desk import SLUG, Course, Desk, edit, open_course

MODULE, ZIP = f"{SLUG}.py", f"{SLUG}-submission.zip"
CASE = "RunningLogSumExp.chunks[0]"


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    course = open_course(tmp_path_factory.mktemp("course"))
    course.desk.types(f"grader release {SLUG} --out out")
    return course


@pytest.fixture(scope="module")
def bundle(course: Course) -> Path:
    return course.desk.folder / "out" / f"{SLUG}-1.0.zip"


@pytest.fixture(scope="module")
def ada(course: Course, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A student who has downloaded the bundle and installed it."""
    ada = course.student(tmp_path_factory.mktemp("ada"))
    shutil.copy(bundle, ada.folder)
    printed = ada.types(f"grader init {SLUG}", code=2)  # before it is installed
    assert f"no assignment '{SLUG}'" in printed
    assert "give the bundle that your course handed out" in printed
    printed = ada.types(f"grader init {SLUG}-1.0.zip")
    assert f"installed {SLUG} 1.0" in printed
    assert f"then run: grader check {SLUG}" in printed
    return ada.at(SLUG)


def work(ada: Desk, name: str, text: str) -> Desk:
    """Return the desk in a copy of the student's folder, with this text in the module."""
    folder = ada.folder.parent / name
    shutil.copytree(ada.folder, folder)
    (folder / MODULE).write_text(text, encoding="utf-8")
    return Desk(folder=folder, home=ada.home)


def test_the_starter_is_short_to_check_and_cannot_be_packed(ada: Desk) -> None:
    lines = ada.lines("grader check", code=1)
    assert len(lines) < 15
    printed = " ".join(" ".join(lines).split())
    assert lines[0].startswith("5 of 5 public tests failed (passed: checks worth 0 of 100 points)")
    assert printed.count("not implemented yet") == 2  # a line for each problem
    assert "0 of 60" in printed
    assert "nothing in it was edited" in printed
    assert "hidden cases decide the grade" in printed
    assert "all passed" not in printed.lower()
    printed = ada.types("grader pack", code=1)
    assert f"{MODULE} is the starter as `grader init` wrote it" in printed
    assert not (ada.folder / ZIP).exists()


def test_a_wrong_answer_is_shown_as_code_that_can_be_pasted(ada: Desk, course: Course) -> None:
    bob = work(ada, "bob", course.wrong)
    printed = bob.types("grader check", code=1)
    assert "2 of 5 public tests failed (passed: checks worth 60 of 100 points)" in printed
    assert "RunningLogSumExp │ 0 of 2 checks passed │ │ 0 of 40" in printed
    assert "expected 1.55384934 got 0.455237031" in printed
    assert f'to see it: grader check --show "{CASE}"' in printed

    shown = bob.lines(f'grader check --show "{CASE}"', code=1)
    code = shown[: shown.index("  value after 1 chunks")]
    assert code[-1] == ""
    assert "exp = RunningLogSumExp(1)" in code
    (bob.folder / "pasted.py").write_text("\n".join(code), encoding="utf-8")
    printed = bob.types("python pasted.py")
    assert "value after 1 chunks: not as expected expected 1.55384934 got 0.455237031" in printed

    edit(bob.folder / MODULE, *reversed((".sum(dim=1)", ".mean(dim=1)")))
    assert "value after 1 chunks: as expected" in bob.types("python pasted.py")
    assert "This case passes" in bob.types(f'grader check --show "{CASE}"')


def test_the_live_inputs_of_a_case_are_at_hand(ada: Desk, course: Course) -> None:
    cyd = work(ada, "cyd", course.wrong)
    (cyd.folder / "look.py").write_text(
        "from grader.student import case\n"
        'c = case("log_sum_exp.values", 1)\n'
        "print(tuple(c.arguments[0][0].shape), c.arguments[0][0].is_contiguous())\n",
        encoding="utf-8",
    )
    assert "(3, 5) False" in cyd.types("python look.py")
    printed = cyd.types('grader check --show "RunningLogSumExp.chunk[0]"', code=2)
    assert f"the nearest: {CASE}" in printed


def test_a_plot_and_a_stray_call_cost_nothing(ada: Desk, course: Course) -> None:
    stray = "print(log_sum_exp(torch.ones(3)))\nlog_sum_exp(torch.empty(2, 0))\nplt.plot([1])\n"
    dan = work(ada, "dan", f"import matplotlib.pyplot as plt\n{course.solution}\n{stray}")
    printed = dan.types("grader check")
    assert "public tests passed (5 checks; checks worth 100 of 100 points)" in printed
    assert f"`matplotlib.pyplot` ({MODULE}, line 1)" in printed
    assert "ValueError: expected at least one entry to sum" in printed
    assert "the rest of the file was loaded" in printed
    assert "`matplotlib.pyplot`" in dan.types("grader pack")
    assert (dan.folder / ZIP).is_file()


def test_pack_names_what_would_cost_points_and_writes_nothing(ada: Desk, course: Course) -> None:
    careless = course.solution.replace("def log_sum_exp", "def logSumExp")
    careless = careless.replace("import torch", "import torch\nimport einops", 1)
    careless = careless.replace("chunk.amax(dim=1)", 'einops.reduce(chunk, "r c -> r", "max")')
    eve = work(ada, "eve", careless)
    assert "did you mean logSumExp, which is?" in eve.types("grader check", code=1)
    printed = eve.types("grader pack --out new", code=1)
    assert "No module named 'einops' where work is graded" in printed
    assert "did you mean logSumExp, which is? Rename it" in printed
    assert "No zip was written. Fix this, or write it with --anyway." in printed
    assert not (eve.folder / "new").exists()
    assert "sha256" in eve.types("grader pack --out new --anyway")


def test_a_module_that_does_not_compile_is_named_with_its_line(ada: Desk, course: Course) -> None:
    fay = work(ada, "fay", course.solution.replace("self._total.log()", "self._total.log("))
    printed = fay.types("grader check", code=1)
    assert "checks worth 60 of 100 points" in printed  # the other problem is not touched
    assert "'(' was never closed" in printed
    assert "with the inputs of this case in mind" not in printed  # no case came so far
    place = f"{MODULE}, line 31"
    assert place in printed
    assert f"{place}: SyntaxError: '(' was never closed" in fay.types("grader pack", code=1)


def test_what_is_graded_is_what_check_saw(ada: Desk, course: Course) -> None:
    """The zip is checked as it was handed in, then graded: check by check the same."""
    seen, handed_in = {}, course.desk.folder / "handed-in"
    for name, text in {"gus": course.solution, "hal": course.wrong}.items():
        student = work(ada, name, f"import matplotlib.pyplot\n{text}\nlog_sum_exp(None)\n")
        code = int(name == "hal")
        packed = student.types("grader pack")
        assert f"wrote {ZIP}" in packed
        assert "sha256" in packed
        with zipfile.ZipFile(student.folder / ZIP) as archive:
            assert archive.namelist() == [MODULE]
        result = student.reads(f"grader check {ZIP} --json", code=code)
        assert result["source"] == MODULE
        seen[name] = {f"{c['problem']}.{c['check']}": c["cause"] for c in result["checks"]}
        (handed_in / name).mkdir(parents=True)
        shutil.copy(student.folder / ZIP, handed_in / name)
    records = course.desk.reads(
        f"grader grade {SLUG} handed-in --out grades --sandbox none --jobs 2 --json"
    )
    graded = {
        record["submission"]["name"]: {
            f"{c['problem']}.{c['check']}": c["cause"] for c in record["judgement"]["checks"]
        }
        for record in records
    }
    assert graded == seen
    scores = {record["submission"]["name"]: record["judgement"]["score"] for record in records}
    assert scores == {"gus": 100, "hal": 60}
    assert "matplotlib" in json.dumps(records[0]["submission"])


def test_init_names_what_it_would_overwrite(ada: Desk, course: Course) -> None:
    ivy = work(ada, "ivy", course.solution)
    assert MODULE in ivy.at("..").types(f"grader init {SLUG} ivy", code=2)
    assert (ivy.folder / MODULE).read_text() == course.solution
    ivy.at("..").types(f"grader init {SLUG} ivy --force")
    assert (ivy.folder / MODULE).read_text() != course.solution
