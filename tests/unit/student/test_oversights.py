"""What pack names before it writes: one sentence each, with the line and what to do."""

import hashlib
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.assignment.table import load_assignment
from grader.intake import load_submission
from grader.intake.files import MARK_FILE
from grader.intake.submission import (
    Attachment,
    Origin,
    Requirements,
    SourceFile,
    Submission,
    SubmissionSource,
)
from grader.student.oversights import absent_modules, find_oversights, missing_names
from grader.student.packing import load_work
from grader.student.work import Work

GOOD = "import math\n\ndef answer(x):\n    return math.floor(x)\n"
MARKED = "<<<<<<< HEAD\na = 1\n=======\na = 2\n>>>>>>> theirs\n"


@pytest.fixture
def find(tmp_path):
    def run(text, *, name="work.py", exports=("answer",), **parts):
        path = tmp_path / name
        path.write_text(text)
        origin = Origin.CUDA if name.endswith(".cu") else Origin.MODULE
        fields = {"files": (SourceFile(name=name, text=text),), "allowed_imports": (), **parts}
        submission = Submission(
            name="me", sha256="", origin=origin, entry=name.partition(".")[0], **fields
        )
        return find_oversights(Work(path=path, slug="work"), submission, exports)

    return run


def test_good_work_has_none(find):
    assert find(GOOD) == ()


def test_an_untouched_starter_is_named(find, tmp_path):
    digest = hashlib.sha256(GOOD.encode()).hexdigest()
    (tmp_path / MARK_FILE).write_text(f'slug = "work"\n[files]\n"work.py" = "{digest}"\n')
    (one,) = find(GOOD)
    assert one.startswith("work.py is the starter")
    assert find(GOOD + "x = 1\n") == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import pandas as pd\n" + GOOD, "work.py, line 1: No module named 'pandas' where"),
        (
            GOOD + "def f():\n    from tqdm.auto import tqdm\n\nanswer = decorate(answer, f)\n",
            "line 6: No module named 'tqdm'",
        ),
        (
            "def anser(x): ...\n",
            "answer is not defined in your file, so its problem gets no points",
        ),
        ("def anser(x): ...\n", "did you mean anser"),
        ("Answer = 1\n", "did you mean Answer"),
        (GOOD + "T = open('table.json').read()\n", "work.py, line 5: table.json is not in the zip"),
        (GOOD + "T = open(file='table.json')\n", "table.json is not in the zip"),
        (GOOD + "from beside import f\n", "line 5: beside is imported, but beside.py is not in"),
        (GOOD + "import package.inner\n", "line 5: package is imported, but package is not in"),
        (GOOD + "from . import beside\n", "beside.py is not in the zip"),
    ],
)
def test_an_oversight_is_named_with_its_line(find, tmp_path, text, says):
    (tmp_path / "table.json").write_text("{}")
    (tmp_path / "beside.py").write_text("f = 1")
    (tmp_path / "package").mkdir()
    (one,) = find(text)
    assert says in one


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    import tqdm\nexcept ImportError:\n    tqdm = None\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas\n",
        "if __name__ == '__main__':\n    import pandas\n",
        "import torch, triton.language as tl, numpy\n",
        "def plot(x):\n    import seaborn\n",
        "class Plots:\n    def show(self):\n        import plotly\n",
        "from harness import TinyModel\nfrom grader.student import check\n",
        "x = open('nowhere.json') if False else ''\nprint('.', '', 'a\\0b')\n",
    ],
)
def test_what_costs_nothing_is_not_named(find, text):
    assert find(text + GOOD) == ()


def test_a_module_of_the_list_and_one_that_is_packed_are_offered(find):
    files = (
        SourceFile(name="work.py", text="import einops, beside\n" + GOOD),
        SourceFile(name="beside.py", text="import einops\nimport pandas\n"),
    )
    (one,) = find(GOOD, files=files, allowed_imports=("einops",))
    assert one.startswith("beside.py, line 2: No module named 'pandas'")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "def f(:\n", "work.py, line 5: "),
        ("return 3\n" + GOOD, "work.py, line 1: "),
        (GOOD + MARKED, "work.py, line 5: "),
        (GOOD.replace("x)", "x"), "work.py, line 4: "),
    ],
)
def test_what_cannot_be_read_is_named_once_with_its_line(tmp_path, text, says):
    path = tmp_path / "work.py"
    path.write_text(text)
    work = Work(path=path, slug="work")
    source = SubmissionSource(name="me", parts=(Attachment(path=path),))
    wanted = Requirements(exports=("answer",))
    submission = load_submission(source, slug="work", requirements=wanted)
    assert isinstance(submission, Submission)
    (one,) = find_oversights(work, submission, ("answer",))
    assert one.startswith(says)


def test_a_header_in_a_folder_is_not_in_the_zip(find, tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "tile.cuh").write_text("")
    (one,) = find('#include <cuda.h>\n#include "inner/tile.cuh"\n', name="work.cu")
    assert one.startswith("work.cu, line 2: inner/tile.cuh is included")


def test_a_star_import_may_define_anything():
    text = "from torch import *\ny = zeros(answer)\n"
    submission = Submission.of_text("me", text)
    assert missing_names(submission, ("answer",)) == ()


@given(st.lists(st.sampled_from([GOOD, MARKED, "import os\n", "\0", "x = y\n", "é=1"])))
def test_every_text_is_looked_at_without_a_crash(tmp_path_factory, parts):
    path = tmp_path_factory.getbasetemp() / "work.py"
    path.write_text("".join(parts))
    submission = Submission.of_text("me", "".join(parts))
    find_oversights(Work(path=path, slug="work"), submission, ())


def test_a_zip_is_read_as_it_was_handed_in(tmp_path, assignment):
    path = tmp_path / "demo_assignment-submission.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("demo_assignment.py", GOOD)
        archive.writestr("beside.py", "x = 1\n")
    table = load_assignment(assignment)
    submission = load_work(Work(path=path, slug="demo_assignment"), table)
    assert [file.name for file in submission.files] == ["demo_assignment.py", "beside.py"]
    assert submission.allowed_imports == table.allowed_imports


def test_a_module_that_live_functions_use_is_named():
    text = (
        "import pluggy, math\nfrom iniconfig import IniConfig\n"
        "def helper(): return pluggy\ndef unused(): return IniConfig\n"
        "class Cache:\n    def get(self): return [helper() for _ in range(math.pi)]\n"
    )
    names = {"__name__": "__main__"}
    exec(text, names)
    (one,) = absent_modules([names["Cache"]], ())
    assert one.startswith("helper: No module named 'pluggy' where work is graded")
    assert absent_modules([names["Cache"]], ("pluggy",)) == ()
    assert len(absent_modules([names["unused"], names["Cache"]], ())) == 2
