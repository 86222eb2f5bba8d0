"""A device and sandboxes that may use it, for tests marked `gpu`."""

import contextlib
from pathlib import Path

import pytest

from grader.assignment.table import Limits
from grader.intake.submission import Origin, SourceFile, Submission

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
    from grader.worker.cuda.driver import open_device

    with open_device() as opened:
        yield opened


@pytest.fixture(scope="session")
def sandboxes():
    """Unconfined sandboxes whose children may use the device."""
    from grader.sandbox.contract import Isolation
    from grader.sandbox.pool import SandboxPool

    pool = SandboxPool("none", LIMITS, isolation=Isolation.WARM, jobs=1, device="cuda", image="")
    with contextlib.closing(pool):
        yield pool


@pytest.fixture
def open_session(open_worker):
    """Open a session on the device with the given module as submission, and load it."""

    def start(text):
        session = open_worker(text)
        session.load()
        return session

    return start


@pytest.fixture
def open_worker(sandboxes, driver):
    """Open a session on the device for the given module as submission; nothing is loaded yet."""
    from grader.worker.cuda.session import open_device_session

    with contextlib.ExitStack() as stack:

        def start(text):
            submission = Submission(
                name="ada",
                sha256="",
                origin=Origin.MODULE,
                entry="submission",
                files=(SourceFile(name="submission.py", text=text),),
            )
            sandbox = stack.enter_context(sandboxes.borrow())
            return stack.enter_context(
                open_device_session(sandbox, submission, limits=LIMITS, driver=driver)
            )

        yield start
