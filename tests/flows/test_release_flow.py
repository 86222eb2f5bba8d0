"""A bundle for students: nothing of the reference in it, and all that a student needs."""

import ast
import hashlib
import io
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

SLUG = "demo_assignment"
LONG_LINE = 41


def run(*command, cwd, code=0):
    environment = {
        k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("GRADER_")
    }
    ran = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**environment, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    root = tmp_path_factory.mktemp("course")
    run(sys.executable, "-m", "grader", "new-assignment", SLUG, cwd=root)
    return root


@pytest.fixture(scope="module")
def bundle(loaded):
    run(sys.executable, "-m", "grader", "release", SLUG, "--out", "out", cwd=loaded)
    (path,) = (loaded / "out").glob(f"{SLUG}-*.zip")
    return path


@pytest.fixture(scope="module")
def student(bundle, tmp_path_factory):
    """The Python of an environment with the bundle's wheel and its dependencies, no checkout."""
    home = tmp_path_factory.mktemp("student")
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(home)
    venv.create(home / "env", symlinks=os.name != "nt", with_pip=False)
    python = home / "env" / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(python, "-c", ask, cwd=home).strip())
    # Folders named in a .pth are searched, but .pth files inside them are not followed, so an
    # editable installation of this project stays out of sight.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (wheel,) = (home / SLUG).glob("*.whl")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--disable-pip-version-check", "--target", site, wheel, cwd=home)
    return python


def files_in(content, name=""):
    yield name, content
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for info in archive.infolist():
                yield from files_in(archive.read(info), info.filename)


def texts_for_students(reference):
    """The docstrings of cases, which students read beside each check."""
    docstrings = [
        ast.get_docstring(node) or ""
        for path in reference.rglob("*cases.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef)
    ]
    return {line.strip() for text in docstrings for line in text.splitlines()}


def assert_nothing_of(reference, content, shared):
    members = list(files_in(content))
    hashes = {hashlib.sha256(body).hexdigest() for _, body in members}
    everything = b"\n".join(body for _, body in members)
    known = {line.strip() for text in shared for line in text.splitlines()}
    known |= texts_for_students(reference)
    for path in reference.rglob("*.py"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() not in hashes, path
        assert not any(name.endswith(f"/{path.relative_to(reference)}") for name, _ in members), (
            path
        )
        for line in path.read_text().splitlines():
            stripped = line.strip()
            is_code = len(stripped) >= LONG_LINE and not stripped.startswith(
                ("from ", '"', "@dataclass(")
            )
            if is_code and stripped not in known:
                assert stripped.encode() not in everything, f"{path}: {stripped}"
                assert json.dumps(stripped)[1:-1].encode() not in everything, f"{path}: {stripped}"


def test_the_bundle_has_what_a_student_needs(bundle):
    with zipfile.ZipFile(bundle) as archive:
        names = {name.removeprefix(f"{SLUG}/") for name in archive.namelist()}
    assert {"README.md", "INSTALL.md", "starter.py", "starter.ipynb"} <= names
    assert {"public/log_sum_exp.json", "public/RunningLogSumExp.json"} <= names
    assert sum(name.endswith(".whl") for name in names) == 1


def test_the_wheel_holds_this_assignment_alone(bundle):
    names = [name for name, _ in files_in(bundle.read_bytes())]
    shipped = {name.split("/")[2] for name in names if name.startswith("grader/_assignments/")}
    assert shipped == {SLUG}
    assert not [name for name in names if name.endswith(".tmpl") or "reference" in name]


def test_nothing_of_the_reference_is_in_the_bundle(loaded, bundle):
    given = loaded / "assignments" / SLUG
    shared = [(given / name).read_text() for name in ("starter.py", "README.md")]
    assert_nothing_of(loaded / "reference" / SLUG, bundle.read_bytes(), shared)


def test_the_same_assignment_gives_the_same_bundle(loaded, bundle):
    run(sys.executable, "-m", "grader", "release", SLUG, "--out", "again", cwd=loaded)
    (again,) = (loaded / "again").glob("*.zip")
    assert again.read_bytes() == bundle.read_bytes()


def test_a_planted_answer_stops_the_release(loaded):
    harness = loaded / "assignments" / SLUG / "harness.py"
    harness.write_bytes((loaded / "reference" / SLUG / "oracle.py").read_bytes())
    try:
        printed = run(
            sys.executable, "-m", "grader", "release", SLUG, "--out", "leaky", cwd=loaded, code=1
        )
    finally:
        harness.unlink()
    assert "oracle.py" in printed
    assert "would leak" in printed
    assert not (loaded / "leaky").exists()


def test_a_student_works_from_the_bundle_alone(loaded, student, tmp_path):
    where = run(student, "-c", "import grader; print(grader.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(student.parent.parent)
    listed = json.loads(run(student, "-m", "grader", "list", "--json", cwd=tmp_path))
    assert [table["slug"] for table in listed] == [SLUG]

    run(student, "-m", "grader", "init", SLUG, cwd=tmp_path)
    folder = tmp_path / SLUG
    assert "not implemented" in run(student, "-m", "grader", "check", cwd=folder, code=1)
    solution = loaded / "reference" / SLUG / "solution.py"
    (folder / f"{SLUG}.py").write_bytes(solution.read_bytes())
    assert "public tests passed" in run(student, "-m", "grader", "check", cwd=folder)
    assert "sha256" in run(student, "-m", "grader", "pack", cwd=folder)

    program = f"from {SLUG} import log_sum_exp\nfrom grader.student import check\n"
    program += 'print(check("log_sum_exp", log_sum_exp).passed)'
    shown = run(student, "-c", program, cwd=folder)
    assert shown.count("public tests passed") == 1
    assert shown.strip().endswith("True")


def test_what_a_student_lacks_is_named_in_the_message(student, tmp_path):
    printed = run(student, "-m", "grader", "new-assignment", "mine", cwd=tmp_path, code=2)
    assert "templates of new assignments are not installed" in printed
    (tmp_path / "reference" / SLUG).mkdir(parents=True)
    (tmp_path / "reference" / SLUG / "cases.py").write_text("")
    printed = run(student, "-m", "grader", "release", SLUG, cwd=tmp_path, code=2)
    assert "not a checkout" in printed


@pytest.mark.slow
@pytest.mark.parametrize("slug", ["kv_cache", "gpu_kernels"])
def test_it_can_be_released(tmp_path, slug):
    checkout = Path(__file__).resolve().parent.parent.parent
    given, reference = checkout / "assignments" / slug, checkout / "reference" / slug
    before = {path: path.read_bytes() for path in given.rglob("*") if path.is_file()}
    run(sys.executable, "-m", "grader", "release", slug, "--out", tmp_path, cwd=checkout)
    after = {path: path.read_bytes() for path in given.rglob("*") if path.is_file()}
    assert before.keys() == after.keys()  # recorded numbers may differ in a last bit by machine
    assert before[given / "starter.ipynb"] == after[given / "starter.ipynb"]
    (path,) = tmp_path.glob(f"{slug}-*.zip")
    names = ("starter.py", "README.md", "harness.py", "assignment.toml")
    shared = [(given / name).read_text() for name in names if (given / name).is_file()]
    assert_nothing_of(reference, path.read_bytes(), shared)
