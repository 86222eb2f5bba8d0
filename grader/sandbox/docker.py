"""The Docker sandbox: a hardened container with a fork server, driven through the docker SDK.

The container has no network, a read-only root, private ipc, limits, the project's seccomp profile
and three capabilities, which the fork server needs to give each child its own uid and to stop and
kill it. The image is built in `sandbox.image`; a child is confined in `runner.confinement`.
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
from grader.sandbox.contract import SandboxSpec, Started
from grader.sandbox.fork_server import (
    ENTRY,
    LOG_CHARACTERS,
    RUNNER_FOLDER,
    SANDBOX_FOLDER,
    await_hello,
    environment,
)
from grader.sandbox.image import (
    ENGINE_FAULTS,
    PYTHON_LABEL,
    connect_engine,
    find_image,
    seccomp_profile,
)
from grader.sandbox.sandbox import UIDS_PER_SANDBOX
from grader.sandbox.stale import boot, folder_prefix, is_gone, owner

FIRST_UID = 0x6772_0000
"""First uid of children, far above accounts; no two slots share one."""
CAPABILITIES = ["SETUID", "SETGID", "KILL"]
CONNECT_SECONDS = 60.0
SHM_BYTES = 64 << 20
LABEL = "grader.sandbox"
OWNER_LABEL = "grader.owner"
BOOT_LABEL = "grader.boot"


class DockerSandbox:
    """Starts the fork server in a container."""

    def start(self, spec: SandboxSpec) -> Started:
        """Build the sandbox; see `Backend.start`."""
        with contextlib.ExitStack() as stack:
            client = stack.enter_context(contextlib.closing(connect_engine()))
            image = find_image(client, spec.image)
            python = str(image.labels[PYTHON_LABEL])
            _remove_stale(client)
            temporary = tempfile.TemporaryDirectory(prefix=folder_prefix("docker"))
            folder = Path(stack.enter_context(temporary))
            listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            _listen(listener, folder / "channel")
            container = _run(client, replace(spec, image=image.id), python, folder / "channel")
            stack.callback(_remove, container)
            control = stack.enter_context(_accept(listener, container))
            # From here on, nothing of the judge is reachable by a path, only by descriptors.
            (folder / "channel" / "judge.sock").unlink()
            listener.close()
            await_hello(control)
            keep = stack.pop_all()
        return Started(
            control=control,
            stop=keep.close,
            log=lambda: _log(container)[-LOG_CHARACTERS:],
            layers=(
                "container: no network, read-only root, private ipc, own pid namespace, seccomp, "
                "no new privileges",
                f"container limits: {spec.memory_bytes >> 20} MiB, {spec.processes} processes",
            ),
            worker_kind=WorkerKind.UID,
            first_uid=FIRST_UID + spec.slot * UIDS_PER_SANDBOX,
            home="/tmp",  # noqa: S108 - a tmpfs of the container
            image_id=str(image.id),
        )


def _listen(listener: socket.socket, folder: Path) -> None:
    """Listen in a folder that is mounted into the container and hidden from other users."""
    folder.mkdir(mode=0o711)
    listener.bind(str(folder / "judge.sock"))
    (folder / "judge.sock").chmod(0o666)  # root without capabilities connects as "others"
    listener.listen(1)


def _gpus(spec: SandboxSpec) -> list[docker.types.DeviceRequest]:
    """Return the request for the sandbox's one GPU, by its CDI name; none on the CPU.

    Source: Container Device Interface, `nvidia.com/gpu=UUID` as nvidia-ctk's generator names it.
    """
    if not spec.gpu_uuid:
        return []
    names = [f"nvidia.com/gpu={spec.gpu_uuid}"]
    return [docker.types.DeviceRequest(driver="cdi", device_ids=names)]


def _hide_buses(spec: SandboxSpec) -> dict[str, str]:
    """Return the mount that hides the machine's buses from a sandbox on the CPU.

    gloo lists PCI devices to choose a network card. It accepts an empty list, but it fails if the
    confinement denies it the list.
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
            # exec, because a library that was compiled for a submission is loaded from there. A
            # submission can run any code anyway, in Python.
            tmpfs={
                "/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={spec.file_bytes}",  # noqa: S108 - in the container
                **_hide_buses(spec),
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


def _accept(listener: socket.socket, container: Any) -> socket.socket:  # noqa: ANN401 - untyped SDK
    """Wait for the fork server to connect."""
    listener.settimeout(CONNECT_SECONDS)
    try:
        control, _ = listener.accept()
    except OSError as error:
        raise SandboxError(
            f"the fork server did not connect from its container ({error})", hint=_log(container)
        ) from error
    return control


def _remove(container: Any) -> None:  # noqa: ANN401 - untyped SDK
    """End everything in the container and remove it."""
    try:
        container.remove(force=True, v=True)
    except docker.errors.NotFound:
        return
    except ENGINE_FAULTS as error:
        raise SandboxError(f"container {container.name} could not be removed: {error}") from error


def _remove_stale(client: docker.DockerClient) -> None:
    """Remove containers of runs on this machine that were killed."""
    ours: dict[str, str | list[str] | bool] = {"label": [LABEL, f"{BOOT_LABEL}={boot()}"]}
    with contextlib.suppress(*ENGINE_FAULTS):  # removed by another run at the same time
        for container in client.containers.list(all=True, filters=ours, ignore_removed=True):
            if is_gone(container.labels.get(OWNER_LABEL, "")):
                container.remove(force=True, v=True)


def _log(container: Any) -> str:  # noqa: ANN401 - untyped SDK
    try:
        return str(container.logs(tail=40).decode(errors="replace"))
    except ENGINE_FAULTS:
        return ""
