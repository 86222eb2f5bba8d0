"""The Docker wall: a hardened container with a warm process, driven through the docker SDK.

Takes: a `SandboxSpec`. Gives: a `Started`. Does not cover: building the image (see
`sandbox.image`), the jail of each child (see `runner.confinement`).

The container has no network, a read-only root, private ipc, limits, the project's seccomp profile
and three capabilities, which the warm process needs to give every child a uid of its own and to
stop and end it.
"""

import contextlib
import secrets
import socket
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import docker.errors

from grader.errors import SandboxError
from grader.runner.order import WorkerKind
from grader.sandbox.container_engine import ENGINE_FAULTS, connect_engine
from grader.sandbox.contract import SandboxSpec, Started
from grader.sandbox.fork_server import ENTRY, RUNNER_FOLDER, SANDBOX_FOLDER, environment, greet
from grader.sandbox.image import PYTHON_LABEL, seccomp_profile
from grader.sandbox.sandbox import UIDS_PER_SANDBOX
from grader.sandbox.stale import boot, is_gone, owner

FIRST_UID = 0x6772_0000
"""First uid of children: far above accounts, and no other container's."""
CAPABILITIES = ["SETUID", "SETGID", "KILL"]
CONNECT_SECONDS = 60.0
SHM_BYTES = 64 << 20
LABEL = "grader.wall"
OWNER_LABEL = "grader.owner"
BOOT_LABEL = "grader.boot"


class DockerSandbox:
    """Starts the warm process in a container."""

    def start(self, spec: SandboxSpec) -> Started:
        """Build the wall; see `Backend.start`."""
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(contextlib.closing(connect_engine()))
            image = _find_image(client, spec.image)
            python = str(image.labels[PYTHON_LABEL])
            _remove_stale(client)
            made = tempfile.TemporaryDirectory(prefix=f"grader-docker-{owner()}-")
            folder = Path(stack.enter_context(made))
            listener = stack.enter_context(_listen(folder / "channel"))
            container = _run(client, replace(spec, image=image.id), python, folder / "channel")
            stack.callback(_remove, container)
            control = stack.enter_context(_accept(listener, container))
            # Nothing of the judge's may stay reachable by name: the channel is descriptors alone.
            (folder / "channel" / "judge.sock").unlink()
            listener.close()
            greet(control)
            keep = stack.pop_all()
        return Started(
            control=control,
            stop=keep.close,
            log=lambda: _log(container),
            layers=(
                "container: no network, read-only root, private ipc, own pid namespace, seccomp, "
                "no new privileges",
                f"container limits: {spec.memory_bytes >> 20} MiB, {spec.processes} processes",
            ),
            jail=WorkerKind.UID,
            first_uid=FIRST_UID + spec.slot * UIDS_PER_SANDBOX,
            home="/tmp",  # noqa: S108 - a memory file system of the container
            image_id=str(image.id),
        )


def _find_image(client: docker.DockerClient, image: str) -> Any:  # noqa: ANN401 - untyped SDK
    try:
        found = client.images.get(image)
    except docker.errors.ImageNotFound as error:
        raise SandboxError(
            f"the image {image} does not exist",
            hint="build it: grader image build --base IMAGE --wheelhouse DIR",
        ) from error
    except docker.errors.APIError as error:
        raise SandboxError(f"the image {image} cannot be read: {error}") from error
    if PYTHON_LABEL not in found.labels:
        raise SandboxError(
            f"the image {image} has no label {PYTHON_LABEL}",
            hint="build it with `grader image build`",
        )
    return found


@contextlib.contextmanager
def _listen(folder: Path) -> Any:  # noqa: ANN401 - a context manager
    """Listen in a folder that is mounted into the container and hidden from other users here."""
    folder.mkdir(mode=0o711)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(folder / "judge.sock"))
        (folder / "judge.sock").chmod(0o666)  # the container's root has no right over foreign files
        listener.listen(1)
        yield listener
    finally:
        listener.close()


def _gpus(spec: SandboxSpec) -> list[docker.types.DeviceRequest]:
    """Return the request for the one GPU of a wall, by its CDI name; none on the processor.

    Source: Container Device Interface, `nvidia.com/gpu=UUID` as nvidia-ctk's generator names it.
    """
    if not spec.gpu_uuid:
        return []
    names = [f"nvidia.com/gpu={spec.gpu_uuid}"]
    return [docker.types.DeviceRequest(driver="cdi", device_ids=names)]


def _no_buses(spec: SandboxSpec) -> dict[str, str]:
    """Return what hides the machine's buses on the processor, where nothing needs them.

    gloo lists PCI devices to choose a network card. It takes their absence for none, and an answer
    that is denied, as the inner jail does, for a failure.
    """
    return {} if spec.gpu_uuid else {"/sys/bus": "ro,noexec,nosuid,nodev,size=4k"}


def _run(client: docker.DockerClient, spec: SandboxSpec, python: str, channel: Path) -> Any:  # noqa: ANN401 - untyped SDK
    command = [python, "-I", "-B", "-c", ENTRY, SANDBOX_FOLDER]
    try:
        return client.containers.run(
            spec.image,
            [*command, f"path:{SANDBOX_FOLDER}/channel/judge.sock", spec.device, *spec.preload],
            name=f"grader-{spec.slot}-{secrets.token_hex(6)}",
            labels={LABEL: str(spec.slot), OWNER_LABEL: owner(), BOOT_LABEL: boot()},
            detach=True,
            init=True,
            user="0:0",
            environment=environment(spec.threads),
            network_mode="none",
            read_only=True,
            # exec: a library that was compiled for a submission is mapped from its home. It keeps
            # nobody from running code who may run Python.
            tmpfs={
                "/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={spec.file_bytes}",  # noqa: S108 - in the box
                **_no_buses(spec),
            },
            shm_size=SHM_BYTES,
            ipc_mode="private",
            cap_drop=["ALL"],
            cap_add=CAPABILITIES,
            security_opt=["no-new-privileges", f"seccomp={seccomp_profile()}"],
            mem_limit=spec.memory_bytes,
            memswap_limit=spec.memory_bytes,
            pids_limit=spec.processes,
            device_requests=_gpus(spec),
            ulimits=[docker.types.Ulimit(name="core", soft=0, hard=0)],
            log_config=docker.types.LogConfig(type="json-file", config={"max-size": "256k"}),
            volumes={
                str(RUNNER_FOLDER): {"bind": f"{SANDBOX_FOLDER}/runner", "mode": "ro"},
                str(channel): {"bind": f"{SANDBOX_FOLDER}/channel", "mode": "rw"},
            },
        )
    except ENGINE_FAULTS as error:
        raise SandboxError(f"the container did not start: {error}") from error


@contextlib.contextmanager
def _accept(listener: socket.socket, container: Any) -> Any:  # noqa: ANN401 - untyped SDK
    """Wait for the warm process to connect."""
    listener.settimeout(CONNECT_SECONDS)
    try:
        control, _ = listener.accept()
    except OSError as error:
        raise SandboxError(
            f"the warm process did not connect from its container ({error})", hint=_log(container)
        ) from error
    with control:
        yield control


def _remove(container: Any) -> None:  # noqa: ANN401 - untyped SDK
    """End everything in the container and remove it.

    Raises:
        SandboxError: if it stays.
    """
    try:
        container.remove(force=True, v=True)
    except docker.errors.NotFound:
        return
    except ENGINE_FAULTS as error:
        raise SandboxError(f"container {container.name} could not be removed: {error}") from error


def _remove_stale(client: docker.DockerClient) -> None:
    """Remove containers of runs on this machine that were killed before they could do it."""
    mine: dict[str, str | list[str] | bool] = {"label": [LABEL, f"{BOOT_LABEL}={boot()}"]}
    with contextlib.suppress(*ENGINE_FAULTS):  # removed by another run at the same time
        for container in client.containers.list(all=True, filters=mine, ignore_removed=True):
            if is_gone(container.labels.get(OWNER_LABEL, "")):
                container.remove(force=True, v=True)


def _log(container: Any) -> str:  # noqa: ANN401 - untyped SDK
    try:
        return str(container.logs(tail=40).decode(errors="replace"))
    except ENGINE_FAULTS:
        return ""
