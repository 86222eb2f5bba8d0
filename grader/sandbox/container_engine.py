"""The connection to the container engine.

Takes: nothing but what the docker SDK reads from the environment, such as DOCKER_HOST. Gives:
`connect_engine`, `ENGINE_FAULTS`. Does not cover: images (see `sandbox.image`) and containers (see
`sandbox.docker`).
"""

import socket

import docker
import docker.errors
import requests.exceptions
from docker.constants import DEFAULT_UNIX_SOCKET
from docker.utils import kwargs_from_env

from grader.errors import SandboxError

ENGINE_FAULTS = (docker.errors.DockerException, requests.exceptions.RequestException)
"""What the SDK raises; a wait that times out is a `RequestException`."""

_UNIX = "unix://"


def connect_engine() -> docker.DockerClient:
    """Return a client of the container engine; close it after use.

    Raises:
        SandboxError: if no engine answers: the machine's.
    """
    try:
        _knock(str(kwargs_from_env().get("base_url", DEFAULT_UNIX_SOCKET)))
        client = docker.from_env()
        client.ping()
    except (*ENGINE_FAULTS, OSError) as error:
        raise SandboxError(
            f"no container engine answers: {error}",
            hint="start it (`systemctl start docker`), set DOCKER_HOST, or choose --sandbox bwrap",
        ) from error
    return client


def _knock(address: str) -> None:
    """Connect to a Unix socket once: the SDK leaks the descriptor of one that does not answer."""
    _, unix, path = address.partition(_UNIX)
    if unix:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(5.0)
            probe.connect(path)
