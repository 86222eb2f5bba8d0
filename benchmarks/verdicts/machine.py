"""The machine of a recording: hardware, versions, and its load."""

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from grader.sandbox.processors import cores

PACKAGES = ("torch", "numpy", "scipy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Hardware, versions and date of a recording.

    Attributes:
        date: begin of the recording, UTC.
        processor: model name.
        cores: processors that the grader may use.
        load_1min: load average at the begin: what other processes did.
        platform: operating system and its version.
        python: version.
        versions: of packages.
    """

    date: str
    processor: str
    cores: int
    load_1min: float
    platform: str
    python: str
    versions: dict[str, str]


def describe_machine() -> Machine:
    """Return a description of this machine."""
    return Machine(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        processor=_processor(),
        cores=cores(),
        load_1min=os.getloadavg()[0],
        platform=platform.platform(),
        python=platform.python_version(),
        versions={name: version(name) for name in PACKAGES},
    )


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
