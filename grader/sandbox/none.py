"""No wall: the warm process is an ordinary child of the judge. Such a run is called unconfined.

Takes: a `WallSpec`. Gives: a `Started`. Does not cover: trust. It is for trusted references, for
macOS, and for machines without namespaces, and is never chosen silently.
"""

import tempfile
from pathlib import Path

from grader.runner.order import JailKind
from grader.sandbox.contract import Started, WallSpec
from grader.sandbox.stale import owner
from grader.sandbox.warm_process import RUNNER_FOLDER, start_here


class NoWall:
    """Starts the warm process without a wall."""

    def start(self, spec: WallSpec) -> Started:
        """Start the warm process; see `Backend.start`."""
        folder = Path(tempfile.mkdtemp(prefix=f"grader-none-{owner()}-"))
        home = folder / "home"
        home.mkdir(mode=0o700)
        # The runner's own folder goes on the path under its own name, as in a real wall.
        (folder / "runner").symlink_to(RUNNER_FOLDER)
        running = start_here(spec, prefix=(), folder=folder, box=str(folder))
        return Started(
            control=running.control,
            stop=running.stop,
            log=running.log,
            layers=("unconfined: no wall",),
            jail=JailKind.PLAIN,
            first_uid=0,
            home=str(home),
        )
