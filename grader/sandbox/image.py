"""The image that the Docker wall runs: made from a base image and a wheelhouse, and checked.

Takes: a base image, a folder of wheels, a tag. Gives: `build_image`, `check_image`, and
`seccomp_profile` for whoever starts containers. Does not cover: grading (see `sandbox.docker`).

No step of a build reaches a network. The image holds a Python with torch and nothing of this
project: the runner is mounted when a container starts.
"""

import collections
import contextlib
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import docker
import docker.errors
import requests.exceptions

from grader import __version__
from grader.errors import SandboxError, UsageError
from grader.sandbox.container_engine import ENGINE_FAULTS, connect_engine

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


DEFAULT_IMAGE = f"grader-sandbox:{__version__}"
PYTHON_LABEL = "grader.python"
"""Label that holds the path of the interpreter with torch."""
VERSIONS_LABEL = "grader.versions"
"""Label that holds `name=version` of every wheel of the wheelhouse, separated by blanks."""
WHEELHOUSE_LABEL = "grader.wheelhouse-sha256"
BASE_LABEL = "grader.base"
_STAGE_LABEL = "grader.stage=packages"
_NOBODY = "65534:65534"
_CHECK_SECONDS = 180.0
_CHECK_MEMORY_BYTES = 2 << 30
_BUILD = "build it: grader image build --base IMAGE --wheelhouse DIR"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What a check found in an image.

    Attributes:
        tag: name by which it was asked for.
        image_id: content address, `sha256:…`.
        size_bytes: all layers, uncompressed.
        python_path: the interpreter with torch, as a path in the image.
        base: the image it was built on, as it was named then.
        versions: (name, version) of Python and the packages that the wall needs.
        landlock_abi: of the kernel, as seen from a container; below 1 means none.
    """

    tag: str
    image_id: str
    size_bytes: int
    python_path: str
    base: str
    versions: tuple[tuple[str, str], ...]
    landlock_abi: int


def docker_folder() -> Path:
    """Return the folder with the Dockerfile and the seccomp profile, installed or in a checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_docker"
    return installed if installed.is_dir() else package.parent / "docker"


def seccomp_profile() -> str:
    """Return the outer seccomp profile as JSON text, the form that the engine's interface takes.

    Raises:
        SandboxError: if the file is missing or broken: the installation is incomplete.
    """
    path = docker_folder() / "seccomp.json"
    try:
        return json.dumps(json.loads(path.read_text(encoding="utf-8")), separators=(",", ":"))
    except (OSError, ValueError) as error:
        raise SandboxError(
            f"{path}: no usable seccomp profile: {error}", hint="install the grader again"
        ) from error


def build_image(
    base: str,
    wheelhouse: Path,
    *,
    tag: str = DEFAULT_IMAGE,
    log: Callable[[str], None] = lambda line: None,
) -> str:
    """Build the image and return its content address.

    Args:
        base: an image with Python 3.11 or newer, venv and libseccomp2, and g++ for CUDA C++; the
            engine has it or can pull it.
        wheelhouse: folder of wheels for that Python: `REQUIRED_WHEELS` and all that they need, and
            `CUDA_WHEELS` for CUDA C++.
        tag: name of the new image.
        log: called with each line of the build's output.

    Raises:
        UsageError: if the wheelhouse lacks a wheel; the caller's.
        SandboxError: if the engine does not answer or a step fails; ours or the machine's.
    """
    wheels = read_wheels(wheelhouse)
    labels = {
        BASE_LABEL: base,
        VERSIONS_LABEL: " ".join(f"{wheel.name}={wheel.version}" for wheel in wheels),
        WHEELHOUSE_LABEL: hash_wheels(wheels),
        "org.opencontainers.image.version": __version__,
    }
    with _engine() as client, tempfile.TemporaryDirectory(prefix="grader-image-") as folder:
        _fill_context(Path(folder), wheels)
        steps = client.api.build(
            path=folder,
            tag=tag,
            buildargs={"BASE": base, "FURTHER": " ".join(further_wheels(wheels))},
            labels=labels,
            network_mode="none",
            rm=True,
            forcerm=True,
            decode=True,
        )
        _follow(steps, log)
        # The first stage holds all wheels a second time.
        client.images.prune(filters={"dangling": True, "label": _STAGE_LABEL})
        return str(client.images.get(tag).id)


def check_image(tag: str = DEFAULT_IMAGE) -> ImageFacts:
    """Start the image as an unprivileged, read-only container and import what the wall needs.

    Raises:
        SandboxError: if engine or image is missing, or anything in it does not work.
    """
    with _engine() as client:
        try:
            image = client.images.get(tag)
        except docker.errors.ImageNotFound as error:
            raise SandboxError(f"the image {tag} does not exist", hint=_BUILD) from error
        python_path = image.labels.get(PYTHON_LABEL, "")
        if not python_path:
            raise SandboxError(f"the image {tag} has no label {PYTHON_LABEL}", hint=_BUILD)
        answer = json.loads(_probe(client, tag, python_path))
        lacking = [what for what, holds in answer["confinement"].items() if not holds]
        if lacking:
            raise SandboxError(f"a container of {tag} runs without {', '.join(lacking)}")
        return ImageFacts(
            tag=tag,
            image_id=str(image.id),
            size_bytes=int(image.attrs["Size"]),
            python_path=python_path,
            base=image.labels.get(BASE_LABEL, "unknown"),
            versions=tuple(answer["versions"].items()),
            landlock_abi=int(answer["landlock_abi"]),
        )


@contextlib.contextmanager
def _engine() -> Iterator[docker.DockerClient]:
    """Connect to the container engine; its failures inside the block become `SandboxError`."""
    client = connect_engine()
    try:
        yield client
    except ENGINE_FAULTS as error:
        raise SandboxError(f"the container engine failed: {error}") from error
    finally:
        client.close()


def _fill_context(folder: Path, wheels: tuple[Wheel, ...]) -> None:
    """Put the Dockerfile and the wheels side by side, as links where the file system has them."""
    shutil.copyfile(docker_folder() / "Dockerfile", folder / "Dockerfile")
    (folder / "wheelhouse").mkdir()
    for wheel in wheels:
        target = folder / "wheelhouse" / wheel.path.name
        try:
            target.hardlink_to(wheel.path.resolve())
        except OSError:  # another file system, or one without links
            shutil.copyfile(wheel.path, target)


def _follow(steps: Iterable[Mapping[str, object]], log: Callable[[str], None]) -> None:
    """Pass the engine's build messages on.

    Raises:
        SandboxError: if a step failed, with the last lines and what they point at.
    """
    recent: collections.deque[str] = collections.deque(maxlen=12)
    for step in steps:
        for line in str(step.get("stream", "")).splitlines():
            if line.strip():
                log(line)
                recent.append(line)
        if "error" in step:
            raise SandboxError(
                f"the image was not built: {step['error']}",
                hint=_remedy([*recent, str(step["error"])]),
            )


def _remedy(lines: list[str]) -> str:
    """Return what to do about a failed build, judged by its last lines."""
    text = "\n".join(lines)
    missing = re.findall(r"No matching distribution found for ([\w.-]+)", text)
    if missing:
        return (
            f"the wheelhouse has no wheel of {missing[0]} that fits the Python of the base image; "
            "fill it with `pip download` by the same version of Python"
        )
    if re.search(r"pull access denied|manifest unknown|not found: manifest|dial tcp", text):
        return "the engine cannot get the base image: `docker pull` or `docker import` it first"
    if "python3: not found" in text or "ensurepip" in text:
        return "the base image needs python3 (3.11 or newer) with the venv module"
    return "last lines of the build:\n" + text


def _probe(client: docker.DockerClient, tag: str, python_path: str) -> str:
    """Run the probe in a container like the wall's and return what it printed.

    Raises:
        SandboxError: if it does not end well, or not in time.
    """
    probe = (docker_folder() / "probe.py").read_text(encoding="utf-8")
    container = client.containers.run(
        tag,
        [python_path, "-I", "-B", "-c", probe, *REQUIRED_WHEELS],
        detach=True,
        init=True,
        user=_NOBODY,
        network_mode="none",
        read_only=True,
        tmpfs={"/tmp": "rw,nosuid,nodev,size=64m"},  # noqa: S108 - in the container
        cap_drop=["ALL"],
        security_opt=["no-new-privileges", f"seccomp={seccomp_profile()}"],
        mem_limit=_CHECK_MEMORY_BYTES,
        memswap_limit=_CHECK_MEMORY_BYTES,
        pids_limit=256,
        environment={"OMP_NUM_THREADS": "1"},
    )
    try:
        status = container.wait(timeout=_CHECK_SECONDS)["StatusCode"]
        printed = container.logs(stdout=True, stderr=False).decode(errors="replace")
        complaints = container.logs(stdout=False, stderr=True).decode(errors="replace")
    except requests.exceptions.RequestException as error:  # a wait that timed out is one of these
        raise SandboxError(f"{tag}: no answer within {_CHECK_SECONDS:.0f} s") from error
    finally:
        container.remove(force=True)
    if status != 0:
        raise SandboxError(f"{tag}: the check ended with status {status}", hint=complaints[-800:])
    return printed
