"""The wheels that go into the image of the Docker wall.

Takes: a folder. Gives: `read_wheels`, `further_wheels`, `hash_wheels`. Does not cover: building the
image (see `sandbox.image`).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from grader.errors import UsageError

REQUIRED_WHEELS = ("landlock", "numpy", "pyseccomp", "torch", "triton")

CUDA_WHEELS = (
    *("nvidia-cuda-cccl", "nvidia-cuda-crt", "nvidia-cuda-nvcc", "nvidia-cuda-runtime"),
    "nvidia-nvvm",
)
"""Installed where the wheelhouse has them: the compiler for submissions in CUDA C++."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Wheel:
    """One wheel: its name as the registry writes it, its version, its file."""

    name: str
    version: str
    path: Path


def read_wheels(wheelhouse: Path) -> tuple[Wheel, ...]:
    """Return the wheels of a folder in order of their names.

    Raises:
        UsageError: if it is no folder, or lacks one of `REQUIRED_WHEELS`.
    """
    if not wheelhouse.is_dir():
        raise UsageError(f"{wheelhouse}: expected a folder of wheels, found none")
    found = []
    for path in wheelhouse.glob("*.whl"):
        # Source: binary distribution format, "File name convention".
        name, version, *_ = path.stem.split("-")
        found.append(Wheel(name=name.lower().replace("_", "-"), version=version, path=path))
    missing = sorted(set(REQUIRED_WHEELS) - {wheel.name for wheel in found})
    if missing:
        raise UsageError(
            f"{wheelhouse}: no wheel of {', '.join(missing)}",
            hint=f"pip download --dest {wheelhouse} --constraint constraints.txt "
            + " ".join(REQUIRED_WHEELS),
        )
    return tuple(sorted(found))


def further_wheels(wheels: tuple[Wheel, ...]) -> list[str]:
    """Return which wheels to install beyond the required ones: all of CUDA's compiler, or none."""
    found = {wheel.name for wheel in wheels}
    return list(CUDA_WHEELS) if found.issuperset(CUDA_WHEELS) else []


def hash_wheels(wheels: tuple[Wheel, ...]) -> str:
    """Return a hash of the names and contents of wheels."""
    digest = hashlib.sha256()
    for wheel in wheels:
        with wheel.path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{wheel.path.name} {content}\n".encode())
    return digest.hexdigest()
