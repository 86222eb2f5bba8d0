"""What a teaching assistant types: grade a class in every sandbox, and read the result."""

import json
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flows.leftovers import Watch, watch
from tests.flows.target_class import (
    EXPECTED,
    TARGET,
    WRONG,
    committed,
    finish,
    grading,
    read_grades,
    start,
    write_class,
    write_mixed_class,
)
from tests.hostile.honest import HONEST

SEED = "seed-of-this-run-4b1d"
pytestmark = pytest.mark.slow
ORACLE = "oracle-of-the-target-7f3a"
CAUSES = {
    "crashing": {"scale": "crash", "Counter": "none"},
    "honest": {"scale": "none", "Counter": "none"},
    "notebook": {"scale": "none", "Counter": "none"},
    "wrong": {"scale": "wrong_value", "Counter": "none"},
}
RUNS = [
    pytest.param(("docker", "warm", 2), marks=pytest.mark.docker, id="docker-warm-2"),
    pytest.param(("docker", "strict", 1), marks=pytest.mark.docker, id="docker-strict-1"),
    pytest.param(("bwrap", "warm", 1), marks=pytest.mark.bwrap, id="bwrap-warm-1"),
    pytest.param(("bwrap", "strict", 2), marks=pytest.mark.bwrap, id="bwrap-strict-2"),
]
LAYER = {"docker": "container: no network", "bwrap": "bubblewrap: own user"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """One finished run."""

    sandbox: str
    isolation: str
    out: Path
    records: dict[str, Any]
    left: list[str]
    watching: Watch


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixed_class(tmp_path_factory.mktemp("class") / "class")


@pytest.fixture(scope="module", params=RUNS)
def graded(
    request: pytest.FixtureRequest, mixed: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Graded]:
    sandbox, isolation, jobs = request.param
    out = tmp_path_factory.mktemp("graded") / "out"
    options = ("--sandbox", sandbox, "--isolation", isolation, "--jobs", jobs, "--seed", SEED)
    with watch() as watching:
        # Two of the class are rejected: a person has to look, so the exit code is 1.
        stdout, _ = finish(start(watching, *grading(out, mixed, *options, "--json")), code=1)
        yield Graded(
            sandbox=sandbox,
            isolation=isolation,
            out=out,
            records={record["submission"]["name"]: record for record in json.loads(stdout)},
            left=watching.left(),
            watching=watching,
        )


def causes(record: dict[str, Any]) -> dict[str, str]:
    return {check["problem"]: check["cause"] for check in record["judgement"]["checks"]}


def test_every_sandbox_gives_the_same_scores_and_causes(graded: Graded) -> None:
    assert read_grades(graded.out) == EXPECTED
    assert {name: causes(graded.records[name]) for name in CAUSES} == CAUSES


def test_nothing_is_left(graded: Graded) -> None:
    assert graded.left == []


def test_records_name_the_layers(graded: Graded) -> None:
    path = graded.out / "staff" / "honest" / "record.json"
    kept = json.loads(path.read_text())
    assert kept["plan"].pop("seed")  # only the file has it; the terminal does not
    assert kept == graded.records["honest"]
    measurement = kept["measurement"]
    assert (measurement["sandbox"], measurement["isolation"]) == (graded.sandbox, graded.isolation)
    layers = " | ".join(measurement["layers"])
    for layer in (LAYER[graded.sandbox], "own uid", "Landlock", "seccomp", "cgroup"):
        assert layer in layers


def test_pages_exist_and_the_staff_s_are_closed(graded: Graded) -> None:
    out = graded.out
    assert (out / "index.html").is_file()
    assert {folder.name for folder in (out / "students").iterdir()} == set(EXPECTED)
    for folder in (out / "students").iterdir():
        assert {"report.html", "report.md"} <= {path.name for path in folder.iterdir()}
    assert (out / "students" / "notebook" / "feedback.html").is_file()
    assert stat.S_IMODE((out / "staff").stat().st_mode) == 0o700
    assert stat.S_IMODE((out / "staff" / "honest" / "record.json").stat().st_mode) == 0o600


def test_students_read_no_secret(graded: Graded) -> None:
    found = [
        f for check in graded.records["wrong"]["judgement"]["checks"] for f in check["findings"]
    ]
    hidden = [f for f in found if not f["public"]]
    assert hidden
    secrets = [SEED, ORACLE, *(f["got"] for f in hidden), *(f["expected"] for f in hidden)]
    for path in (graded.out / "students").rglob("*"):
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        assert [secret for secret in secrets if len(secret) > 6 and secret in text] == []


@pytest.mark.parametrize("graded", RUNS[2:3], indirect=True)
def test_report_makes_the_same_pages_again(graded: Graded) -> None:
    def pages() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in graded.out.rglob("*.*") if is_page(path)}

    def is_page(path: Path) -> bool:
        return path.suffix in (".html", ".md", ".csv", ".ipynb") or path.name == "record.json"

    before = pages()
    for path in before:
        path.unlink()
    finish(start(graded.watching, "report", graded.out))
    assert pages() == before


def test_the_plan_is_printed_without_the_seed(mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with watch() as watching:
        plain = start(watching, *grading(out, mixed, "--plan", "--seed", SEED))
        options = ("--plan", "--json", "--without-device-targets", "--seed", SEED)
        form = start(watching, *grading(out, mixed, *options))
        stdout, plan = finish(plain)[0], finish(form)[0]
    assert "scale" in stdout
    assert "256 MiB" in stdout
    assert [p["name"] for p in json.loads(plan)["problems"]] == ["scale", "Counter"]
    assert json.loads(plan)["left_out_points"] == 0
    assert SEED not in stdout + plan
    assert not out.exists()


def test_a_dry_run_lists_the_class_and_starts_nothing(mixed: Path, tmp_path: Path) -> None:
    out, roster = tmp_path / "out", tmp_path / "roster.csv"
    roster.write_text("name\nhonest\nZoe Zuse\n", encoding="utf-8")
    options = ("--dry-run", "--roster", roster, "--sandbox", "bwrap")
    with watch() as watching:
        plain = start(watching, *grading(out, mixed, *options))
        form = start(watching, *grading(out, mixed, *options, "--json", "--only", "honest"))
        stdout, flight = finish(plain)[0], json.loads(finish(form)[0])
        assert watching.left() == []
    assert "6 submissions of target: 4 to grade; 2 rejected (cannot be read)" in stdout
    assert "empty (empty.py): expected Python source, found an empty file" in stdout
    assert "on the roster without a submission: Zoe Zuse" in stdout
    assert "estimated time: under a minute (a guess" in stdout
    assert {entry["name"]: entry["fate"] for entry in flight["entries"]} == {
        **dict.fromkeys(EXPECTED, "left_out"),
        "honest": "grade",
    }
    assert not out.exists()


def test_an_unconfined_run_says_so_and_a_changed_plan_asks(tmp_path: Path) -> None:
    folder, out = write_class(tmp_path / "class", honest=HONEST), tmp_path / "out"
    with watch() as watching:
        stdout, _ = finish(start(watching, *grading(out, folder, "--sandbox", "none")))
        assert watching.left() == []
        assert "UNCONFINED" in stdout
        assert read_grades(out) == {"honest": EXPECTED["honest"]}
        for page in ("index.html", "students/honest/report.html", "students/honest/report.md"):
            assert "unconfined" in (out / page).read_text(encoding="utf-8").lower(), page

        (first,) = committed(out)
        other = grading(out, folder, "--sandbox", "none", "--seed", "another")
        _, stderr = finish(start(watching, *other), code=2)
        assert "--force" in stderr
        assert committed(out) == [first]
        finish(start(watching, *other, "--force"))
    assert committed(out)[0] == first
    assert [row[0] for row in committed(out)] == ["honest", "honest"]


def test_nobody_is_graded_by_cases_that_the_solution_fails(tmp_path: Path) -> None:
    """A new seed is tried first; one that the caller names is taken as it is."""
    folder, out = write_class(tmp_path / "class", honest=HONEST), tmp_path / "out"
    reference = shutil.copytree(TARGET / "reference", tmp_path / "reference")
    solution = reference / "target" / "solution.py"
    solution.write_text(WRONG, encoding="utf-8")
    call = grading(out, folder, "--sandbox", "none", reference=reference)
    with watch() as watching:
        stdout, stderr = finish(start(watching, *call), code=1)
        told = " ".join((stdout + stderr).split())
        assert told.count("Choosing another seed") == 3
        assert f"{solution}: expected a solution that passes every hidden case" in told
        assert "fails scale.values" in told
        assert committed(out) == []
        solution.write_text(HONEST, encoding="utf-8")
        stdout, _ = finish(start(watching, *call))
        assert "checking the new seed" in stdout
        assert "Choosing another seed" not in stdout
        stdout, _ = finish(start(watching, *call))
        assert "checking the new seed" not in stdout  # the run's own is kept
        assert watching.left() == []
    assert read_grades(out) == {"honest": EXPECTED["honest"]}


def test_mistakes_of_the_caller_end_with_2_and_help(tmp_path: Path) -> None:
    folder = write_class(tmp_path / "class", honest=HONEST)
    out = tmp_path / "out"
    calls = {
        "target": ["grade", "no_such", folder, "--out", out, *grading(out)[2:-2]],
        "not found": grading(out, tmp_path / "missing", "--sandbox", "none"),
        "lies inside the folder that is graded": grading(folder / "out", folder),
        "nobody here is called so": grading(out, folder, "--only", "honnest"),
        "auto, docker, bwrap, none": grading(out, folder, "--sandbox", "moat"),
        "no records": ["report", tmp_path / "class"],
    }
    with watch() as watching, ThreadPoolExecutor(2) as workers:
        done = workers.map(lambda call: finish(start(watching, *call), code=2), calls.values())
        for needle, (stdout, stderr) in zip(calls, done, strict=True):
            assert needle in " ".join((stdout + stderr).split())
            assert SEED not in stdout + stderr
        assert watching.left() == []
    assert not list(out.rglob("*.csv"))
