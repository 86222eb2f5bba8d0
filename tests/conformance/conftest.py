"""Builds a sandbox with every backend, and calls functions of the probe in it."""

import os
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from grader.assignment.steps import Call
from grader.assignment.table import Limits
from grader.evidence.faults import Fault, Raised, Stopped, fault_of
from grader.intake.submission import Origin, SourceFile, Submission
from grader.sandbox.backends import make_backend
from grader.sandbox.bwrap import BubblewrapSandbox
from grader.sandbox.contract import Backend, SandboxSpec
from grader.sandbox.image import DEFAULT_IMAGE
from grader.sandbox.sandbox import Sandbox
from grader.worker.session import Session, open_session
from tests.flows.leftovers import Watch, watch

MIB = 1 << 20
LIMITS = Limits(
    load_wall_s=30.0,
    call_wall_s=20.0,
    memory_bytes=256 * MIB,
    processes=24,
    reply_bytes=MIB,
    output_bytes=4096,
    loopback=True,  # otherwise no test could look at the network namespace
)
FILE_BYTES = 16 * MIB
PROBE = Submission(
    name="probe",
    sha256="",
    origin=Origin.MODULE,
    entry="probe",
    files=(
        SourceFile(name="probe.py", text=Path(__file__).with_name("probe.py").read_text("utf-8")),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One backend to test.

    Attributes:
        name: of the backend.
        make: makes it.
        layer: part of the name of its outermost layer.
        is_sandboxed: whether it promises more than limits.
    """

    name: str
    make: Callable[[], Backend]
    layer: str
    is_sandboxed: bool = True


def _bwrap_marks() -> list[pytest.MarkDecorator]:
    not_root = pytest.mark.skipif(os.geteuid() != 0, reason="a range of uids needs root")
    return [pytest.mark.bwrap, not_root]


KINDS = [
    pytest.param(
        Kind(
            name="docker",
            make=lambda: make_backend("docker"),
            layer="container: no network",
        ),
        marks=pytest.mark.docker,
        id="docker",
    ),
    pytest.param(
        Kind(
            name="bwrap",
            make=lambda: BubblewrapSandbox(uid_range=True),
            layer="range of uids",
        ),
        marks=_bwrap_marks(),
        id="bwrap",
    ),
    pytest.param(
        Kind(name="bwrap", make=lambda: BubblewrapSandbox(uid_range=False), layer="one uid"),
        marks=pytest.mark.bwrap,
        id="bwrap-one-uid",
    ),
    pytest.param(
        Kind(
            name="none", make=lambda: make_backend("none"), layer="unconfined", is_sandboxed=False
        ),
        id="none",
    ),
]


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(scope="module")
def watched() -> Iterator[Watch]:
    """All of a module runs below one temporary folder, and must leave nothing behind."""
    with watch() as watching, pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(watching.folder))
        yield watching


@contextmanager
def build_sandbox(kind: Kind, *, slot: int = 0, limits: Limits = LIMITS) -> Iterator[Sandbox]:
    spec = SandboxSpec(
        slot=slot,
        device="cpu",
        memory_bytes=limits.memory_bytes + 2048 * MIB,
        processes=limits.processes + 64,
        file_bytes=FILE_BYTES,
        threads=1,
        image=DEFAULT_IMAGE,
        loopback=limits.loopback,
        preload=("colorsys",),
    )
    sandbox = Sandbox(kind.make().start(spec), spec, limits)
    try:
        yield sandbox
    finally:
        sandbox.close()


@pytest.fixture(scope="module")
def sandbox(kind: Kind, watched: Watch) -> Iterator[Sandbox]:
    with build_sandbox(kind) as built:
        yield built


@pytest.fixture
def sandboxed_only(kind: Kind) -> None:
    if not kind.is_sandboxed:
        pytest.skip("an unconfined run promises nothing of this")


@contextmanager
def loaded(sandbox: Sandbox, *, limits: Limits = LIMITS) -> Iterator[Session]:
    with open_session(sandbox, PROBE, limits=limits) as session:
        session.load()
        yield session


def ask(sandbox: Sandbox, name: str, *args: Any, limits: Limits = LIMITS) -> Any:
    """Call one function of the probe in a fresh child."""
    with loaded(sandbox, limits=limits) as session:
        return session.call(Call(name, *args))


def fault(sandbox: Sandbox, name: str, *args: Any, limits: Limits = LIMITS) -> Fault:
    """Return the fault with which such a call ends."""
    try:
        value = ask(sandbox, name, *args, limits=limits)
    except Raised as raised:
        return fault_of(raised)
    except Stopped as stopped:
        return stopped.fault
    raise AssertionError(f"{name} returned {value!r}")


def counters(session: Session) -> tuple[int, int]:
    """Return the two counters at the end of the memory that the worker shares with the judge."""
    raw = os.pread(session._memory._replies.fd, 16, LIMITS.reply_bytes - 16)
    return struct.unpack("2q", raw)


def pid_of(session: Session) -> int:
    """Return the pid of the child as this process sees it."""
    for line in Path(f"/proc/self/fdinfo/{session._child.exit_fd}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    raise AssertionError("not a process descriptor")
