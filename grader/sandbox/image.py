"""The image of the Docker sandbox: connects to the container engine, builds and checks the image.

An image is built from a base image and a wheelhouse (a folder of wheels), and no step of the build
uses a network. It holds Python with torch and nothing of this project: the runner is mounted when a
container starts, in `sandbox.docker`.
"""

import collections
import contextlib
import hashlib
import json
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests.exceptions
from docker.constants import DEFAULT_UNIX_SOCKET
from docker.utils import kwargs_from_env

from grader import __version__
from grader.errors import SandboxError, UsageError
from grader.sandbox.contract import DEFAULT_IMAGE as DEFAULT_IMAGE  # also found here

ENGINE_FAULTS = (docker.errors.DockerException, requests.exceptions.RequestException)
"""Exceptions of the docker SDK; a wait that times out is a `RequestException`."""

REQUIRED_WHEELS = ("landlock", "numpy", "pyseccomp", "torch", "triton")

CUDA_WHEELS = (
    *("nvidia-cuda-cccl", "nvidia-cuda-crt", "nvidia-cuda-nvcc", "nvidia-cuda-runtime"),
    "nvidia-nvvm",
)
"""The compiler for submissions in CUDA C++; installed only if the wheelhouse has all of them."""

PYTHON_LABEL = "grader.python"
"""Label with the path of the interpreter that has torch."""
VERSIONS_LABEL = "grader.versions"
"""Label with `name=version` of every wheel of the wheelhouse, separated by spaces."""
WHEELHOUSE_LABEL = "grader.wheelhouse-sha256"
BASE_LABEL = "grader.base"
_STAGE_LABEL = "grader.stage=packages"
_NOBODY = "65534:65534"
_CHECK_SECONDS = 180.0
_CHECK_MEMORY_BYTES = 2 << 30
_BUILD = "build it: grader image build --base IMAGE --wheelhouse DIR"
_UNIX = "unix://"


def connect_engine() -> docker.DockerClient:
    """Return a client of the container engine that DOCKER_HOST names; close it after use.

    Raises:
        SandboxError: if no engine answers: the machine's fault.
    """
    try:
        _try_unix_socket(str(kwargs_from_env().get("base_url", DEFAULT_UNIX_SOCKET)))
        client = docker.from_env()
        client.ping()
    except (*ENGINE_FAULTS, OSError) as error:
        raise SandboxError(
            f"no container engine answers: {error}",
            hint="start it (`systemctl start docker`), set DOCKER_HOST, or use --sandbox bwrap",
        ) from error
    return client


def _try_unix_socket(address: str) -> None:
    """Connect to a Unix socket once: if it does not answer, the SDK would leak a descriptor."""
    _, unix, path = address.partition(_UNIX)
    if unix:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(5.0)
            probe.connect(path)


def find_image(client: docker.DockerClient, tag: str) -> Any:  # noqa: ANN401 - untyped SDK
    """Return the image called `tag`, which has a label with the path of its interpreter.

    Raises:
        SandboxError: if it does not exist or has no such label; the hint says how to build it.
    """
    try:
        image = client.images.get(tag)
    except docker.errors.ImageNotFound as error:
        raise SandboxError(f"the image {tag} does not exist", hint=_BUILD) from error
    except docker.errors.APIError as error:
        raise SandboxError(f"the image {tag} could not be read: {error}") from error
    if not image.labels.get(PYTHON_LABEL):
        raise SandboxError(f"the image {tag} has no label {PYTHON_LABEL}", hint=_BUILD)
    return image


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Wheel:
    """One wheel: its name in the spelling of package indexes, its version, its file."""

    name: str
    version: str
    path: Path


def read_wheels(wheelhouse: Path) -> tuple[Wheel, ...]:
    """Return the wheels of a folder, sorted by name.

    Raises:
        UsageError: if it is no folder, or one of `REQUIRED_WHEELS` is missing.
    """
    if not wheelhouse.is_dir():
        raise UsageError(f"{wheelhouse}: expected a folder of wheels, but this is not a folder")
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
    """Return the names of optional wheels to install: all of `CUDA_WHEELS`, or none."""
    found = {wheel.name for wheel in wheels}
    return list(CUDA_WHEELS) if found.issuperset(CUDA_WHEELS) else []


def hash_wheels(wheels: tuple[Wheel, ...]) -> str:
    """Return a SHA-256 of the names and contents of wheels."""
    digest = hashlib.sha256()
    for wheel in wheels:
        with wheel.path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{wheel.path.name} {content}\n".encode())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What a check found in an image.

    Attributes:
        image_id: content address, `sha256:…`.
        size_bytes: of all layers, uncompressed.
        python_path: the interpreter that has torch, as a path in the image.
        base: name of the base image at build time.
        versions: (name, version) of Python and the packages that the sandbox needs.
        landlock_abi: of Linux, as seen from a container; below 1 means none.
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
    """Return the seccomp profile of the container as JSON text, as the container engine takes it.

    Raises:
        SandboxError: if the file is missing or broken, because the installation is incomplete.
    """
    path = docker_folder() / "seccomp.json"
    try:
        return json.dumps(json.loads(path.read_text(encoding="utf-8")), separators=(",", ":"))
    except (OSError, ValueError) as error:
        raise SandboxError(
            f"{path}: no usable seccomp profile: {error}", hint="reinstall the grader"
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
            engine must have it or be able to pull it.
        wheelhouse: folder of wheels for that Python: `REQUIRED_WHEELS` and their dependencies, and
            `CUDA_WHEELS` for CUDA C++.
        tag: name of the new image.
        log: called with each line of the build's output.

    Raises:
        UsageError: if the wheelhouse lacks a wheel: the caller's fault.
        SandboxError: if the engine does not answer or a step fails: our or the machine's fault.
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
        # The image of the first stage has a second copy of all wheels.
        client.images.prune(filters={"dangling": True, "label": _STAGE_LABEL})
        return str(client.images.get(tag).id)


def check_image(tag: str = DEFAULT_IMAGE) -> ImageFacts:
    """Start the image in an unprivileged, read-only container and import the required packages.

    Raises:
        SandboxError: if engine or image is missing, or if anything in the image does not work.
    """
    with _engine() as client:
        image = find_image(client, tag)
        python_path = image.labels[PYTHON_LABEL]
        answer = json.loads(_probe(client, tag, python_path))
        missing = [name for name, holds in answer["confinement"].items() if not holds]
        if missing:
            raise SandboxError(f"a container of {tag} runs without {', '.join(missing)}")
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
    """Connect to the container engine; inside the block, its errors become `SandboxError`."""
    client = connect_engine()
    try:
        yield client
    except ENGINE_FAULTS as error:
        raise SandboxError(f"the container engine failed: {error}") from error
    finally:
        client.close()


def _fill_context(folder: Path, wheels: tuple[Wheel, ...]) -> None:
    """Put the Dockerfile and the wheels into one folder, as hard links if possible."""
    shutil.copyfile(docker_folder() / "Dockerfile", folder / "Dockerfile")
    (folder / "wheelhouse").mkdir()
    for wheel in wheels:
        target = folder / "wheelhouse" / wheel.path.name
        try:
            target.hardlink_to(wheel.path.resolve())
        except OSError:  # another file system, or one without links
            shutil.copyfile(wheel.path, target)


def _follow(steps: Iterable[Mapping[str, object]], log: Callable[[str], None]) -> None:
    """Pass the engine's build messages on to `log`, until a step fails: a `SandboxError`."""
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
    """Return what to do about a failed build, according to its last lines."""
    text = "\n".join(lines)
    missing = re.findall(r"No matching distribution found for ([\w.-]+)", text)
    if missing:
        return (
            f"the wheelhouse has no wheel of {missing[0]} for the Python of the base image; "
            "fill it with `pip download`, run by the same version of Python"
        )
    if re.search(r"pull access denied|manifest unknown|not found: manifest|dial tcp", text):
        return "the engine cannot pull the base image; `docker pull` or `docker import` it first"
    if "python3: not found" in text or "ensurepip" in text:
        return "the base image needs python3 (3.11 or newer) with the venv module"
    return "last lines of the build:\n" + text


def _probe(client: docker.DockerClient, tag: str, python_path: str) -> str:
    """Run the probe in a container with the sandbox's settings; return what it printed."""
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
        errors = container.logs(stdout=False, stderr=True).decode(errors="replace")
    except requests.exceptions.RequestException as error:  # of a wait that timed out
        raise SandboxError(f"{tag}: no answer within {_CHECK_SECONDS:.0f} s") from error
    finally:
        container.remove(force=True)
    if status != 0:
        raise SandboxError(f"{tag}: the check ended with status {status}", hint=errors[-800:])
    return printed
