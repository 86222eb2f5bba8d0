"""kill -9 at several moments of a class: nothing graded twice, nothing lost, nothing left."""

import contextlib
import signal
import time
from collections.abc import Callable
from pathlib import Path

import docker.errors
import pytest

from grader.sandbox.image import connect_engine
from tests.flows.leftovers import Watch, containers, descendants, wait_until, watch
from tests.flows.target_class import (
    EXPECTED,
    SLOW,
    WRONG,
    committed,
    finish,
    grading,
    read_grades,
    start,
    write_class,
)
from tests.hostile.honest import HONEST

pytestmark = pytest.mark.slow
START_S = 90.0
CLASS = {"ada": HONEST, "bob": SLOW, "cyd": WRONG, "dee": SLOW, "eve": HONEST}
GRADES = {name: EXPECTED["wrong" if text is WRONG else "honest"] for name, text in CLASS.items()}


def kill_when(watching: Watch, call: list[object], moment: Callable[[], object], what: str) -> None:
    """Start grading, kill the judge at a moment, and wait until no process of it is left."""
    before = descendants()
    process = start(watching, *call)
    try:
        wait_until(lambda: process.poll() is not None or moment(), within_s=START_S, what=what)
        assert process.poll() is None, process.communicate()
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    wait_until(
        lambda: descendants() <= before and not running(str(watching.folder)),
        within_s=30,
        what="the killed run's processes end by themselves",
    )


def running(mark: str) -> list[str]:
    """Return the run's containers in which something still runs."""
    names = containers(mark)
    if not names:
        return []
    found = []
    with contextlib.closing(connect_engine()) as client:
        for name in names:
            with contextlib.suppress(docker.errors.NotFound):  # removed since it was listed
                if client.containers.get(name).status == "running":
                    found.append(name)
    return found


@pytest.mark.parametrize(
    ("sandbox", "jobs"),
    [
        pytest.param("bwrap", 1, marks=pytest.mark.bwrap),
        pytest.param("docker", 2, marks=pytest.mark.docker),
    ],
)
def test_a_killed_run_goes_on(sandbox: str, jobs: int, tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = write_class(tmp_path / "class", **CLASS)
    call = grading(out, folder, "--sandbox", sandbox, "--jobs", jobs)
    with watch() as watching:
        kill_when(watching, call, lambda: has_sandbox(watching), "a sandbox is being built")
        assert committed(out) == []

        kill_when(watching, call, lambda: len(committed(out)) >= 1, "one is graded")
        first = committed(out)
        assert first

        second = first
        if sandbox == "bwrap":  # the cheaper sandbox: kill once more, in the middle of a call
            kill_when(watching, call, lambda: later(out, first), "two are graded")
            second = committed(out)
        assert second[: len(first)] == first
        assert len(second) < len(CLASS)

        stdout, _ = finish(start(watching, *call))
        assert stdout.count("(graded before)") == len(second)
        final = committed(out)
        assert watching.left() == []
    assert final[: len(second)] == second
    assert sorted(row[0] for row in final) == sorted(CLASS)
    assert {row[2] for row in final} == {"graded"}
    assert read_grades(out) == GRADES
    for name in CLASS:
        assert (out / "staff" / name / "record.json").is_file()


def has_sandbox(watching: Watch) -> bool:
    """Return whether the building of a sandbox has begun: its folder exists."""
    return any(watching.folder.glob("grader-*wrap-*")) or any(
        watching.folder.glob("grader-docker-*/channel")
    )


def later(out: Path, first: list[tuple[str, str, str]]) -> bool:
    """Return whether one more is graded, after a moment in which the next one has begun."""
    if len(committed(out)) <= len(first):
        return False
    time.sleep(0.2)
    return True
