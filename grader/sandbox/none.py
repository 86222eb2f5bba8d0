"""No wall: the warm process is an ordinary child of the judge. Such a run is called unconfined.

Takes: a `WallSpec`. Gives: a `Started`. Does not cover: trust. It is for trusted references, for
macOS, and for machines without namespaces, and is never chosen silently.
"""

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from grader.runner.order import JailKind
from grader.sandbox.contract import Started, WallSpec
from grader.sandbox.stale import owner
from grader.sandbox.warm_process import ENTRY, RUNNER_FOLDER, environment, greet, interpreter


class NoWall:
    """Starts the warm process without a wall."""

    def start(self, spec: WallSpec) -> Started:
        """Start the warm process; see `Backend.start`."""
        folder = Path(tempfile.mkdtemp(prefix=f"grader-none-{owner()}-"))
        home = folder / "home"
        home.mkdir(mode=0o700)
        log = folder / "warm.log"
        ours, theirs = socket.socketpair()
        # The runner's own folder goes on the path under its own name, as in a real wall.
        (folder / "runner").symlink_to(RUNNER_FOLDER)
        command = [interpreter(), "-I", "-B", "-c", ENTRY, str(folder)]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*command, f"fd:{theirs.fileno()}", spec.device],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=environment(spec.threads),
                start_new_session=True,
            )
        theirs.close()

        def stop() -> None:
            ours.close()
            process.kill()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)

        try:
            greet(ours, log)
        except BaseException:
            stop()
            raise
        return Started(
            control=ours,
            stop=stop,
            log=lambda: log.read_text(errors="replace") if log.exists() else "",
            layers=("unconfined: no wall",),
            jail=JailKind.PLAIN,
            first_uid=0,
            home=str(home),
        )
