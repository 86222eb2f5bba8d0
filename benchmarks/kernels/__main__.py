"""All kernels against their rivals: `python -m benchmarks.kernels`.

    python -m benchmarks.kernels [--out DIR] [--only OPERATION ...] [--smoke]

Takes: a CUDA device. Gives: `kernels.json`, `kernels.md`, `kernels.svg` in DIR, the tables on the
terminal. Does not cover: choosing configurations.

Each operation has a process of its own, with a limit, because a kernel that faults takes its CUDA
context with it. Processes begin until `LIMIT_S` has passed; what does not begin is named as broken.

Exit code 0: everything ran, whether goals are met or missed; 1: something is broken; 2: there is no
device.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from benchmarks.kernels import _command
from benchmarks.kernels._device import Interpreter
from benchmarks.kernels._load import OPERATIONS
from benchmarks.kernels._operation import run_operation
from benchmarks.kernels._plot import as_svg
from benchmarks.kernels._result import Result, from_json, merged
from benchmarks.kernels._rounds import METHOD
from benchmarks.kernels._table import as_markdown, as_text

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 270.0
"""Of all operations together; `make gpu` has 10 minutes, and other parts."""
OPERATION_LIMIT_S = 75.0
"""Of one: torch's import, its compiler, and the timing."""
LAST_LINES = 5


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.kernels", description=__doc__)
    _command.add_options(parser)
    parser.add_argument("--out", type=Path, default=Path("out/kernels"))
    parser.add_argument("--only", nargs="+", default=OPERATIONS, choices=OPERATIONS)
    options = parser.parse_args(arguments)
    if _command.find_device(smoke=options.smoke) is None:
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    if options.smoke:
        results = [try_here(stem) for stem in options.only]
    else:
        results = run_apart(tuple(options.only), budget_s=options.budget_s)
    result = merged(results)
    write_pages(options.out, result)
    print(as_text(result))
    return 1 if result.broken else 0


def write_pages(out: Path, result: Result) -> None:
    """Write the JSON, the Markdown and the plot."""
    _command.write_json(out / "kernels.json", result)
    (out / "kernels.md").write_text(as_markdown(result), encoding="utf-8")
    (out / "kernels.svg").write_text(as_svg(result), encoding="utf-8")


def try_here(stem: str) -> Result:
    """Run one operation in this process, in the interpreter."""
    cases = import_module(f"benchmarks.kernels.{stem}").cases
    return run_operation(stem, cases, Interpreter(), budget_s=_command.BUDGET_S)


def run_apart(operations: tuple[str, ...], *, budget_s: float) -> list[Result]:
    """Run each operation in a process of its own, as long as there is time."""
    begin, results = time.monotonic(), []
    for stem in operations:
        left_s = LIMIT_S - (time.monotonic() - begin)
        if left_s <= 0:
            results.append(broken(f"{stem}: not begun, {LIMIT_S:.0f} s had passed"))
        else:
            results.append(run_one(stem, budget_s=budget_s, limit_s=min(left_s, OPERATION_LIMIT_S)))
        print(f"  {stem}: {time.monotonic() - begin:.0f} s", flush=True)
    return results


def run_one(stem: str, *, budget_s: float, limit_s: float) -> Result:
    """Run one operation in a process; whatever ends it without a result is broken."""
    with tempfile.TemporaryDirectory() as folder:
        path, log = Path(folder) / "result.json", Path(folder) / "log"
        command = [sys.executable, "-m", f"benchmarks.kernels.{stem}", "--json", str(path)]
        command += ["--budget-s", str(budget_s)]
        with log.open("wb") as out:
            process = subprocess.Popen(
                command, cwd=ROOT, stdout=out, stderr=out, start_new_session=True
            )
            try:
                code = process.wait(limit_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # what compiles for it, too
                process.wait()
                return broken(f"{stem}: stopped after {limit_s:.0f} s")
        if path.is_file():
            return from_json(path.read_text(encoding="utf-8"))
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        return broken(f"{stem}: ended with {code}: {' / '.join(last)}")


def broken(text: str) -> Result:
    """Return a result that holds one failure."""
    return Result(method=METHOD, note="", broken=(text,))


if __name__ == "__main__":
    sys.exit(main())
