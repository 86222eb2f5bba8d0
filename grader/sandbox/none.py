"""No wall: the warm process is an ordinary child of the judge. Such a run is called unconfined.

Takes: a `SandboxSpec`. Gives: a `Started`. Does not cover: trust. It is for trusted references, for
macOS, and for machines without namespaces, and is never chosen silently.
"""

import tempfile
from pathlib import Path

from grader.runner.order import WorkerKind
from grader.sandbox.contract import SandboxSpec, Started
from grader.sandbox.fork_server import RUNNER_FOLDER, start_here
from grader.sandbox.stale import owner


class NoSandbox:
    """Starts the warm process without a wall."""

    def start(self, spec: SandboxSpec) -> Started:
        """Start the warm process; see `Backend.start`."""
        folder = Path(tempfile.mkdtemp(prefix=f"grader-none-{owner()}-"))
        home = folder / "home"
        home.mkdir(mode=0o700)
        # The runner's own folder goes on the path under its own name, as in a real wall.
        (folder / "runner").symlink_to(RUNNER_FOLDER)
        running = start_here(spec, prefix=(), folder=folder, worker=str(folder))
        return Started(
            control=running.control,
            stop=running.stop,
            log=running.log,
            layers=("unconfined: no wall",),
            jail=WorkerKind.PLAIN,
            first_uid=0,
            home=str(home),
        )
