"""A submission that the self-test runs in a sandbox: it tries things that must fail.

Each function returns what it was able to do. Attacks are tried in the hostile tests.
"""

import os
import socket
import time

import torch


def double(x: torch.Tensor) -> torch.Tensor:
    """Show that honest work succeeds."""
    return x * 2


def take_memory(amount_bytes: int) -> int:
    """Return `amount_bytes` if that much memory could be allocated."""
    block = torch.ones(amount_bytes, dtype=torch.uint8)
    return int(block.numel())


def fork_many(count: int) -> int:
    """Return how many of `count` processes could be forked."""
    forked = []
    for _ in range(count):
        try:
            pid = os.fork()
        except OSError:
            break
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        forked.append(pid)
    for pid in forked:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return len(forked)


def reach_network() -> str:
    """Return whether there is a route to an address reserved for documentation (RFC 5737).

    Connecting a datagram socket sends nothing; it only asks Linux for a route.
    """
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("192.0.2.1", 9))
    except OSError:
        return "no route"
    return "a route to the outside"


def read_files(paths: list[str]) -> list[str]:
    """Return those of `paths` that could be opened."""
    readable = []
    for path in paths:
        try:
            os.close(os.open(path, os.O_RDONLY))
        except OSError:
            continue
        readable.append(path)
    return readable


def loop_forever() -> None:
    """Never return."""
    while True:
        pass
