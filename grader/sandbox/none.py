"""No sandbox: the fork server is an ordinary child of the judge. Such a run is called unconfined.

It is for trusted references, for macOS, and for machines without namespaces. It is never chosen
automatically.
"""

import tempfile
from pathlib import Path

from grader.runner.order import WorkerKind
from grader.sandbox.contract import SandboxSpec, Started
from grader.sandbox.fork_server import RUNNER_FOLDER, start_here
from grader.sandbox.stale import folder_prefix


class NoSandbox:
    """Starts the fork server without a sandbox."""

    def start(self, spec: SandboxSpec) -> Started:
        """Start the fork server; see `Backend.start`."""
        folder = Path(tempfile.mkdtemp(prefix=folder_prefix("none")))
        home = folder / "home"
        home.mkdir(mode=0o700)
        # Python imports the package as `runner`, as in a real sandbox.
        (folder / "runner").symlink_to(RUNNER_FOLDER)
        control, stop, log = start_here(spec, prefix=(), folder=folder, root=str(folder))
        return Started(
            control=control,
            stop=stop,
            log=log,
            layers=("unconfined: no sandbox",),
            worker_kind=WorkerKind.PLAIN,
            first_uid=0,
            home=str(home),
        )
