"""The zip to hand in: the source, deterministic, with missing names told."""

import hashlib
import zipfile

import pytest

from grader.assignment.table import load_assignment
from grader.errors import UsageError
from grader.intake.submission import Origin, SourceFile, Submission
from grader.student.packing import missing_exports, pack
from grader.student.work import Work

SLUG = "demo_assignment"


def submission_of(text):
    file = SourceFile(name="work.py", text=text)
    return Submission(name="me", sha256="", origin=Origin.MODULE, entry="work", files=(file,))


@pytest.fixture
def table(assignment):
    return load_assignment(assignment)


def test_the_zip_holds_the_source_under_the_assignments_name(tmp_path, table, solution):
    path = tmp_path / "work.py"
    path.write_text(solution)
    package = pack(Work(path=path, slug=SLUG), submission_of(solution), table, tmp_path)
    assert package.path.name == f"{SLUG}-submission.zip"
    assert package.sha256 == hashlib.sha256(package.path.read_bytes()).hexdigest()
    with zipfile.ZipFile(package.path) as archive:
        assert archive.read(f"{SLUG}.py").decode() == solution
    assert pack(Work(path=path, slug=SLUG), submission_of(solution), table, tmp_path) == package


def test_a_folder_that_is_not_there_is_made(tmp_path, table):
    path = tmp_path / "work.py"
    path.write_text("")
    package = pack(Work(path=path, slug=SLUG), submission_of(""), table, tmp_path / "new" / "er")
    assert package.path.parent == tmp_path / "new" / "er"
    with pytest.raises(UsageError, match=r"work\.py"):
        pack(Work(path=path, slug=SLUG), submission_of(""), table, path)


def test_a_zip_is_not_packed_again(tmp_path, table):
    with pytest.raises(UsageError, match="a zip already"):
        pack(Work(path=tmp_path / "a.zip", slug=SLUG), submission_of(""), table, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "def log_sum_exp(x): ...",
        "async def log_sum_exp(x): ...",
        "log_sum_exp = torch.logsumexp",
        "log_sum_exp: object = 1",
        "from other import log_sum_exp",
        "class log_sum_exp: ...",
        "if True:\n    def log_sum_exp(x): ...",
    ],
)
def test_a_name_defined_at_the_top_is_found(table, text):
    assert missing_exports(submission_of(text), table) == ("RunningLogSumExp",)


@pytest.mark.parametrize(
    "text", ["# log_sum_exp", "def f():\n    def log_sum_exp(x): ...", "log_sum_exp2 = 1"]
)
def test_a_name_that_is_not_defined_is_missing(table, text):
    assert "log_sum_exp" in missing_exports(submission_of(text), table)
