"""Bundles and the wheel: nothing of the reference in them, and all that a student needs.

A student's environment here has the wheel, what the wheel declares, and nothing else: no checkout,
no reference, no packages of the staff.
"""

import ast
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

SLUG = "demo_assignment"
OTHER = "other_assignment"
LONG_LINE = 41


def run(*command, cwd, code=0, home=None):
    environment = {
        k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("GRADER_")
    }
    ran = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**environment, "COLUMNS": "120", "GRADER_HOME": str(home or Path(cwd) / "home")},
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
    for kind in ("assignments", "reference"):
        shutil.copytree(root / kind / SLUG, root / kind / OTHER)
    edit(root / "assignments" / OTHER / "assignment.toml", f'slug = "{SLUG}"', f'slug = "{OTHER}"')
    return root


@pytest.fixture(scope="module")
def bundle(loaded):
    run(sys.executable, "-m", "grader", "release", SLUG, "--out", "out", cwd=loaded)
    return loaded / "out" / f"{SLUG}-1.0.zip"


@pytest.fixture(scope="module")
def wheel(bundle):
    (path,) = bundle.parent.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def other(bundle, loaded):
    """A bundle of another assignment, beside the first."""
    printed = run(sys.executable, "-m", "grader", "release", OTHER, "--out", "out", cwd=loaded)
    assert "was there with other content" not in printed  # one wheel serves both
    return loaded / "out" / f"{OTHER}-1.0.zip"


@pytest.fixture(scope="module")
def corrected(loaded, tmp_path_factory):
    """A bundle of the first assignment with a new version, handout and public cases."""
    root = tmp_path_factory.mktemp("corrected") / "course"
    shutil.copytree(loaded, root, ignore=shutil.ignore_patterns("out"))
    given, reference = root / "assignments" / SLUG, root / "reference" / SLUG
    edit(given / "assignment.toml", 'version = "1.0"', 'version = "1.1"')
    (given / "README.md").write_text("# Corrected\n")
    cases = (reference / "cases.py").read_text()
    docstring = next(iter(texts_for_students(reference) & {*map(str.strip, cases.split('"""'))}))
    (reference / "cases.py").write_text(cases.replace(docstring, "Corrected words."))
    run(sys.executable, "-m", "grader", "release", SLUG, "--out", "out", cwd=root)
    return root / "out" / f"{SLUG}-1.1.zip"


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def name_of(requirement):
    return re.split(r"[^\w.-]", requirement)[0]


def needed(names):
    """The installed distributions of these names, and of all that they need."""
    found = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another system
            continue
        wanted = [line for line in found[name].requires or [] if "extra ==" not in line]
        waiting += {name_of(line) for line in wanted} - found.keys()
    return found.values()


@pytest.fixture(scope="module")
def student(wheel, tmp_path_factory):
    """The Python of an environment with the wheel and what it declares."""
    home = tmp_path_factory.mktemp("student")
    venv.create(home / "env", symlinks=os.name != "nt", with_pip=False)
    python = home / "env" / "bin" / "python"
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(run(python, "-c", ask, cwd=home).strip())
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--disable-pip-version-check", "--target", site, wheel, cwd=home)
    with zipfile.ZipFile(wheel) as archive:
        (about,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        lines = archive.read(about).decode().splitlines()
    declared = {
        name_of(line.removeprefix("Requires-Dist: "))
        for line in lines
        if line.startswith("Requires-Dist: ") and "extra ==" not in line
    }
    assert declared == {"cattrs", "numpy", "rich", "torch", "typer"}
    for distribution in needed(declared):
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(distribution.locate_file(top))
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


def test_the_bundle_has_what_a_student_needs(bundle, wheel):
    with zipfile.ZipFile(bundle) as archive:
        names = archive.namelist()
        install = archive.read(f"{SLUG}-1.0/INSTALL.md").decode()
        manifest = json.loads(archive.read(f"{SLUG}-1.0/bundle.json"))
        read = {name.partition("/")[2]: archive.read(name) for name in names}
    public = {"public/log_sum_exp.json", "public/RunningLogSumExp.json"}
    files = {"README.md", "starter.py", "starter.ipynb", "assignment.toml"} | public
    assert read.keys() == {"INSTALL.md", "bundle.json"} | files
    assert {name.partition("/")[0] for name in names} == {f"{SLUG}-1.0"}
    assert manifest["files"] == {name: hashlib.sha256(read[name]).hexdigest() for name in files}
    assert (manifest["name"], manifest["version"]) == (SLUG, "1.0")
    for said in (f"grader init {SLUG}-1.0.zip", f"pip install {wheel.name}", "WSL", "Colab"):
        assert said in install
    assert "kv_cache" not in install


def test_the_wheel_holds_no_assignment(wheel):
    names = [name for name, _ in files_in(wheel.read_bytes())]
    assert "grader/commands/init.py" in names
    assert not [name for name in names if "assignment.toml" in name or "starter" in name]
    assert not [name for name in names if name.endswith(".tmpl") or "reference" in name]


def test_nothing_of_the_reference_is_in_bundle_or_wheel(loaded, bundle, wheel):
    given = loaded / "assignments" / SLUG
    shared = [(given / name).read_text() for name in ("starter.py", "README.md")]
    for path in (bundle, wheel):
        assert_nothing_of(loaded / "reference" / SLUG, path.read_bytes(), shared)


def test_the_same_assignment_gives_the_same_files(loaded, bundle, wheel):
    run(sys.executable, "-m", "grader", "release", SLUG, "--out", "again", cwd=loaded)
    for path in (bundle, wheel):
        assert (loaded / "again" / path.name).read_bytes() == path.read_bytes()


def test_one_wheel_serves_all_assignments(other, wheel):
    assert [path.name for path in other.parent.glob("*.whl")] == [wheel.name]


def test_a_corrected_bundle_is_a_file_of_its_own(corrected):
    with zipfile.ZipFile(corrected) as archive:
        manifest = json.loads(archive.read(f"{SLUG}-1.1/bundle.json"))
    assert manifest["version"] == "1.1"


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


@pytest.mark.timeout(600)  # seventeen commands
def test_a_student_works_with_two_bundles_and_a_corrected_one(
    loaded, bundle, other, corrected, student, tmp_path
):
    home = tmp_path / "home"

    def grader(*words, cwd=tmp_path, code=0):
        return run(student, "-m", "grader", *words, cwd=cwd, code=code, home=home)

    where = run(student, "-c", "import grader; print(grader.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(student.parent.parent)
    assert "No assignments found" in grader("list")

    printed = grader("init", bundle)
    assert hashlib.sha256(bundle.read_bytes()).hexdigest() in printed
    assert f"installed {SLUG} 1.0" in printed
    with zipfile.ZipFile(other) as archive:
        archive.extractall(tmp_path)  # unpacked beside the work: nothing collides
    assert f"installed {OTHER} 1.0" in grader("init", f"{OTHER}-1.0")
    listed = json.loads(grader("list", "--json"))
    assert [(table["slug"], table["version"]) for table in listed] == [
        (SLUG, "1.0"),
        (OTHER, "1.0"),
    ]

    folder = tmp_path / SLUG
    assert "not implemented" in grader("check", cwd=folder, code=1)
    solution = (loaded / "reference" / SLUG / "solution.py").read_text()
    (folder / f"{SLUG}.py").write_text(solution)
    (tmp_path / OTHER / f"{OTHER}.py").write_text(solution)
    assert "public tests passed" in grader("check", OTHER)

    printed = grader("init", corrected.as_uri(), "elsewhere")
    assert f"installed {SLUG} 1.1 in place of 1.0:" in printed
    assert "changed: handout (README.md); public cases of " in printed
    first = grader("check", cwd=folder)
    assert f"{SLUG} 1.1 is used from now on; this folder was made from 1.0" in first
    assert "public tests passed" in first
    assert "from now on" not in grader("check", cwd=folder)
    assert "left as it is" in grader("init", SLUG)
    assert (folder / "README.md").read_text() == "# Corrected\n"
    assert (folder / f"{SLUG}.py").read_text() == solution
    assert f"{SLUG} 1.1 is installed, and 1.0 is older" in grader("init", bundle, code=2)
    assert "sha256" in grader("pack", cwd=folder)

    program = f"from {SLUG} import log_sum_exp\nfrom grader.student import check\n"
    program += f'print(check("log_sum_exp", log_sum_exp, assignment="{SLUG}").passed)'
    shown = run(student, "-c", program, cwd=folder, home=home)
    assert shown.count("public tests passed") == 1
    assert shown.strip().endswith("True")

    grader("remove", SLUG)
    assert f"no assignment '{SLUG}'; here are: {OTHER}" in grader("check", SLUG, code=2)


def test_what_a_student_lacks_is_named_in_the_message(student, tmp_path):
    printed = run(student, "-m", "grader", "new-assignment", "mine", cwd=tmp_path, code=2)
    assert "`grader new-assignment` needs llm-systems-grader[author]" in printed
    grade = (student, "-m", "grader", "grade", SLUG, "x", "--out", "o")
    printed = run(*grade, cwd=tmp_path, code=2)
    assert "`grader grade` needs llm-systems-grader[grade]" in printed
    assert 'python -m pip install "llm-systems-grader[grade]"' in printed


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
    (path,) = tmp_path.glob(f"{slug}-1.0.zip")
    names = ("starter.py", "README.md", "harness.py", "assignment.toml")
    shared = [(given / name).read_text() for name in names if (given / name).is_file()]
    assert_nothing_of(reference, path.read_bytes(), shared)
