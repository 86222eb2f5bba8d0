"""A new assignment is complete: right answers pass, and each check is someone's only catcher."""

import tomllib

import pytest

from grader.assignment.declare import load_cases
from grader.assignment.draw import PUBLIC_SEED, Draw
from grader.assignment.loaded import load_assignment_with_reference
from grader.assignment.table import load_assignment
from grader.correctness.drive import drive
from grader.errors import AuthorError, UsageError
from grader.judge.judgement import Cause
from grader.release.bundle import notebook_of, release
from grader.release.scaffold import write_scaffold
from grader.student.local_worker import LocalWorker
from grader.student.verdict import judge_check
from grader.validate.known_submission import load_known_submissions
from grader.validate.ledger import compare_ledger

SEEDS = (PUBLIC_SEED, "one", "two", "three")


def failures(assignment, reference, text, seed):
    """Return the cause of each check that `text` fails under `seed`."""
    table, cases = load_assignment(assignment), load_cases(reference)
    namespace: dict[str, object] = {}
    exec(text, namespace)
    failed = {}
    for problem in table.problems:
        for check in problem.checks:
            maker = cases[problem.name, check.name]
            path = (table.slug, problem.name, check.name)
            seen = [
                drive(
                    maker(Draw(seed, path, index)),
                    LocalWorker(namespace, {}),
                    check=check.name,
                    index=index,
                    public=False,
                )
                for index in range(maker.hidden)
            ]
            result = judge_check(problem.name, check, seen, description="")
            if not result.passed:
                failed[f"{problem.name}.{check.name}"] = result.cause
    return failed


def header_of(text):
    lines = [line[2:] for line in text.splitlines() if line.startswith("# ") and " = " in line]
    return tomllib.loads("\n".join(lines))


@pytest.mark.parametrize("seed", SEEDS)
def test_solution_and_right_answers_pass(assignment, reference, seed):
    for path in [reference / "solution.py", *(reference / "right").glob("*.py")]:
        assert failures(assignment, reference, path.read_text(), seed) == {}


@pytest.mark.parametrize("seed", SEEDS)
def test_every_check_is_the_only_catcher_of_a_wrong_answer(assignment, reference, seed):
    solution = (reference / "solution.py").read_text()
    caught = set()
    for path in sorted((reference / "wrong").glob("*.py")):
        header = header_of(path.read_text())
        failed = failures(assignment, reference, solution + path.read_text(), seed)
        assert failed[header["caught_by"]] is Cause(header["cause"]), path.name
        assert set(failed) == {header["caught_by"], *header["also_fails"]}, path.name
        caught |= set() if header["also_fails"] else {header["caught_by"]}
    table = load_assignment(assignment)
    assert caught == {f"{p.name}.{c.name}" for p in table.problems for c in p.checks}


def test_every_sentence_of_the_starter_is_in_the_ledger(assignment, reference):
    loaded = load_assignment_with_reference(assignment, reference, device="cpu", seed="one")
    found = compare_ledger(loaded, load_known_submissions(loaded))
    assert found.complaints == ()
    assert {row.place for row in found.rows} == {
        *("log_sum_exp", "RunningLogSumExp", "What to build"),
    }


def test_the_starter_misses_everything(assignment, reference):
    failed = failures(assignment, reference, (assignment / "starter.py").read_text(), "one")
    assert set(failed.values()) == {Cause.MISSING}
    assert len(failed) == 5


def test_points_add_up_and_files_are_there(assignment, reference):
    assert load_assignment(assignment).points == 100
    names = {path.name for path in assignment.iterdir()}
    assert names == {"assignment.toml", "README.md", "starter.py", "starter.ipynb", "public"}
    assert {path.name for path in (assignment / "public").iterdir()} == {
        "log_sum_exp.json",
        "RunningLogSumExp.json",
    }


@pytest.mark.parametrize("name", ["Upper", "a", "with-dash", "../up", ""])
def test_a_bad_name_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="cannot name"):
        write_scaffold(name, tmp_path / "assignments", tmp_path / "reference")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "reference" / "mine").mkdir(parents=True)
    with pytest.raises(UsageError, match="exists"):
        write_scaffold("mine", tmp_path / "assignments", tmp_path / "reference")
    assert not (tmp_path / "assignments").exists()


def test_an_installation_without_the_templates_says_so(tmp_path, monkeypatch):
    """Such as a student's, which has no answers of the small assignment either."""
    monkeypatch.setattr("grader.release.scaffold.TEMPLATES", tmp_path / "nothing")
    with pytest.raises(UsageError, match="templates of new assignments are not installed"):
        write_scaffold("mine", tmp_path / "assignments", tmp_path / "reference")


def test_a_bundle_is_made_in_a_checkout_only(assignment, reference, tmp_path, monkeypatch):
    monkeypatch.setattr("grader.release.bundle.PACKAGE", tmp_path / "site" / "grader")
    with pytest.raises(UsageError, match="not a checkout"):
        release(assignment, reference, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_starter_without_an_answer_cell_is_refused():
    with pytest.raises(AuthorError, match="no answer cell"):
        notebook_of("# %%\nimport torch\n")


def test_the_notebook_is_the_same_for_the_same_starter(assignment):
    text = (assignment / "starter.py").read_text()
    assert notebook_of(text) == notebook_of(text) == (assignment / "starter.ipynb").read_text()
