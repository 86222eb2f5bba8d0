"""What machine a result was found on.

Takes: nothing. Gives: `describe_machine`. Does not cover: what was found.
"""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from grader.performance.measure.ceilings import find_setting

PACKAGES = ("torch", "triton", "numpy", "pytest", "landlock", "pyseccomp")


def describe_machine() -> dict[str, object]:
    """Return hardware, driver, versions, commit and date."""
    setting = find_setting("cuda" if torch.cuda.is_available() else "cpu")
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device_class": setting.device_class,
        "hardware": setting.hardware,
        "driver": setting.driver,
        "devices": torch.cuda.device_count(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "load_1min": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _commit() -> str:
    """Return the commit of the checkout, with a mark if files differ from it."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
