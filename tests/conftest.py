"""What tests need of a machine: found out here, skipped with a reason, or required.

A test marked `docker`, `bwrap`, `browser`, `nvcc` or `gpu` is skipped where that is not usable.
Where the environment variable GRADER_REQUIRE lists the marker (`GRADER_REQUIRE=docker,bwrap`), a
skip is a failure, and so is a session in which no test of that marker ran.

Environment: GRADER_REQUIRE; GRADER_ARTEFACTS, the folder for screenshots (default: a temporary
one); DOCKER_HOST, as the docker SDK reads it.
"""

import contextlib
import functools
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
from xdist.scheduler import LoadFileScheduling

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


TIMED_FILES = frozenset(
    """
    test_bench_flow test_demo test_00_honest_race test_01_patched_timers
    test_03_work_after_the_reply test_05_replay_in_a_race test_06_batch_and_skip
    test_11_phase_detection test_13_early_exit_from_a_race test_18_impossible_time
    test_31_hidden_time test_32_hidden_growth test_33_hidden_memory
    test_49_denial_in_timed_runs test_50_ranks_honest test_54_recorded_collectives
    """.split()
)
"""Files whose tests time submissions: in two processes they would wait for one another."""


class TimedInOneProcess(LoadFileScheduling):
    """Gives every file to one process of pytest-xdist, and all that time something to the same."""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return "timed" if Path(file).stem in TIMED_FILES else file


@pytest.hookimpl(optionalhook=True)  # there is no such hook without the plugin
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> TimedInOneProcess | None:
    return TimedInOneProcess(config, log) if config.option.dist == "loadfile" else None


def missing_docker() -> str:
    """Return why no container can be started from the grading image; empty if one can."""
    if importlib.util.find_spec("docker") is None:
        return "the package docker is not installed"
    from docker.errors import DockerException

    from grader.errors import SandboxError
    from grader.sandbox.image import DEFAULT_IMAGE, connect_engine

    try:
        with contextlib.closing(connect_engine()) as client:
            client.images.get(DEFAULT_IMAGE)
    except SandboxError as error:
        return str(error)
    except DockerException as error:
        return f"the image {DEFAULT_IMAGE} cannot be had: {error}"
    return ""


def missing_bwrap() -> str:
    """Return why bubblewrap makes no sandbox here; empty if it does."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed"
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "true"]
    probe = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return "" if probe.returncode == 0 else f"bubblewrap fails: {probe.stderr.strip()}"


def missing_browser() -> str:
    """Return why no page can be opened; empty if one can."""
    if importlib.util.find_spec("playwright") is None:
        return "the package playwright is not installed"
    return "" if find_chromium() else "Chromium is not installed"


def missing_gpu() -> str:
    """Return why nothing can run on CUDA; empty if something can."""
    import torch

    return "" if torch.cuda.is_available() else "no CUDA device is visible"


def missing_nvcc() -> str:
    """Return why no CUDA C++ can be compiled here; empty if it can."""
    from grader.sandbox import backends

    return backends.missing_nvcc()


def find_chromium() -> str:
    """Return the path of the installed Chromium, empty if there is none."""
    return next(filter(None, map(shutil.which, CHROMIUM_NAMES)), "")


PROBES: dict[str, Callable[[], str]] = {
    "docker": functools.cache(missing_docker),
    "bwrap": functools.cache(missing_bwrap),
    "browser": functools.cache(missing_browser),
    "gpu": functools.cache(missing_gpu),
    "nvcc": functools.cache(missing_nvcc),
}


def required_markers() -> frozenset[str]:
    """Return the markers that GRADER_REQUIRE lists."""
    listed = frozenset(filter(None, os.environ.get("GRADER_REQUIRE", "").split(",")))
    if unknown := listed - PROBES.keys():
        raise pytest.UsageError(
            f"GRADER_REQUIRE: unknown {', '.join(sorted(unknown))}; known: {', '.join(PROBES)}"
        )
    return listed


class Requirements:
    """Fails a session in which no test of a required marker ran."""

    def __init__(self, required: frozenset[str]) -> None:
        self._unmet = set(required)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and not report.skipped:
            self._unmet.difference_update(report.keywords)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        is_worker = hasattr(session.config, "workerinput")  # of pytest-xdist; its parent counts
        if self._unmet and not is_worker and not session.config.option.collectonly:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for name in sorted(self._unmet):
            terminalreporter.write_line(f"GRADER_REQUIRE: no test marked {name} ran", red=True)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Requirements(required_markers()), "grader-requirements")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for name, probe in PROBES.items():
        if item.get_closest_marker(name) and (why := probe()):
            pytest.skip(f"{name}: {why}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    required = sorted(name for name in required_markers() if item.get_closest_marker(name))
    if required and report.skipped and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"required by GRADER_REQUIRE ({', '.join(required)}), yet: {why}"
    return report


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Chromium, for tests marked `browser`."""
    return find_chromium()


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for what people may want to look at after a run, such as screenshots."""
    named = os.environ.get("GRADER_ARTEFACTS")
    folder = Path(named).resolve() if named else tmp_path_factory.mktemp("artefacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
