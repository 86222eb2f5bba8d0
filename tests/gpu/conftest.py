"""A device and walls that may use it, for tests marked `gpu`."""

import contextlib
from pathlib import Path

import pytest

from grader.intake.submission import Origin, SourceFile, Submission
from grader.plan.assignment import Limits

ROOT = Path(__file__).resolve().parents[2]
LIMITS = Limits(
    call_wall_s=60.0,
    load_wall_s=120.0,
    problem_wall_s=600.0,
    memory_bytes=32 << 30,
    reply_bytes=64 << 20,
)


@pytest.fixture
def driver():
    """The machine's first device."""
    from grader.device.cuda_driver import open_device

    with open_device() as opened:
        yield opened


@pytest.fixture(scope="session")
def walls():
    """Unconfined walls whose children may use the device."""
    from grader.sandbox.contract import Isolation
    from grader.sandbox.pool import WallPool

    pool = WallPool("none", LIMITS, isolation=Isolation.WARM, jobs=1, device="cuda", image="")
    with contextlib.closing(pool):
        yield pool


@pytest.fixture
def open_session(open_box):
    """Open a session on the device with the given module as submission, and load it."""

    def start(text):
        session = open_box(text)
        session.load("")
        return session

    return start


@pytest.fixture
def open_box(walls, driver):
    """Open a session on the device for the given module as submission; nothing is loaded yet."""
    from grader.measure.device_session import open_device_session

    with contextlib.ExitStack() as stack:

        def start(text):
            submission = Submission(
                name="ada",
                sha256="",
                origin=Origin.MODULE,
                entry="submission",
                files=(SourceFile(name="submission.py", text=text),),
            )
            wall = stack.enter_context(walls.borrow())
            return stack.enter_context(
                open_device_session(wall, submission, limits=LIMITS, driver=driver)
            )

        yield start
