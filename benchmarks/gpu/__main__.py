"""Everything that needs a GPU, in one command: `make gpu`.

    python -m benchmarks.gpu [--out DIR] [--skip PART ...]

Takes: a machine with a CUDA device and an interpreter with a CUDA build of torch; no container
engine, no network. Gives: `gpu.json` with hardware, driver, versions, date and what each part
found; `junit.xml`, `pytest.log`; `kernels/` with the times of kernels and rivals as JSON, Markdown
and a roofline. Does not cover: grading of submissions.

Exit code 0: all parts passed; 1: some did not; 2: there is no device, or a package is missing.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("torch", "numpy", "cattrs", "pytest", "pytest_timeout", "landlock", "pyseccomp")
TEST_FOLDERS = ("tests/gpu", "tests/kernels")
"""Where tests marked `gpu` are; others would need packages that a GPU machine may lack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """What one part of the run found.

    Attributes:
        name: of the part.
        passed: whether it is as it should be.
        seconds: it took.
        found: what it found, as JSON.
    """

    name: str
    passed: bool
    seconds: float
    found: object


def refusal() -> str:
    """Return why nothing can be run here; empty if it can."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        return (
            f"{sys.executable} lacks {', '.join(missing)}; it needs what "
            "`pip install '.[dev]'` installs, or a BIN that has it (wheels can be carried: "
            "pip install --no-index --find-links DIR ...)"
        )
    import torch

    if not torch.cuda.is_available():
        return (
            f"torch {torch.__version__} sees no CUDA device; this needs one, and a CUDA build of "
            "torch (remove .venv and name an index that has it in TORCH_INDEX_URL, or give BIN)"
        )
    return ""


def references(_: Path) -> tuple[bool, object]:
    """Run every reference on the device, against its oracle."""
    from benchmarks.gpu.references import run_references

    reports = run_references(ROOT / "assignments", ROOT / "reference", device="cuda")
    for report in reports:
        for failure in report.failures:
            print(f"  {report.assignment}: {failure}")
    passed = bool(reports) and all(not report.failures for report in reports)
    return passed, [asdict(report) for report in reports]


def ceilings(_: Path) -> tuple[bool, object]:
    """Measure what the device can do at most."""
    from grader.performance.measure.ceilings import express, find_setting, measure_ceilings
    from grader.worker.cuda.driver import open_device
    from grader.worker.lease import hold_lease

    with open_device() as driver, hold_lease(driver.facts.uuid, on_wait=print):
        return True, json.loads(express(measure_ceilings(find_setting("cuda"))))


def tests(out: Path) -> tuple[bool, object]:
    """Run the tests that need a device; a skip is a failure."""
    folders = [name for name in TEST_FOLDERS if (ROOT / name).is_dir()]
    command = [sys.executable, "-m", "pytest", *folders, "-m", "gpu"]
    command += [f"--junitxml={out / 'junit.xml'}", "-p", "no:cacheprovider"]
    return _run(command, out / "pytest.log", {**os.environ, "GRADER_REQUIRE": "gpu"})


def kernels(out: Path) -> tuple[bool, object]:
    """Time every kernel against its rivals; goals are met or missed, and neither is a failure."""
    folder = out / "kernels"
    command = [sys.executable, "-m", "benchmarks.kernels", "--out", str(folder)]
    passed, found = _run(command, out / "kernels.log", os.environ)
    path = folder / "kernels.json"
    if not path.is_file():
        return False, found
    result = json.loads(path.read_text(encoding="utf-8"))["result"]
    for goal in result["outcomes"]:
        print("  {operation} {shape}: {goal}: {metric}: {word}".format(**goal))
    return passed, {"run": found, "goals": result["outcomes"], "broken": result["broken"]}


def data_parallel(out: Path) -> tuple[bool, object]:
    """Time DDP and FSDP beside torch's: by NCCL if there are two GPUs, else by gloo."""
    path = out / "data_parallel.json"
    command = [sys.executable, "-m", "benchmarks.data_parallel", "--json", str(path)]
    passed, found = _run(command, out / "data_parallel.log", os.environ)
    if not path.is_file():
        return False, found
    result = json.loads(path.read_text(encoding="utf-8"))
    for one in result["results"]:
        print("  {engine} by {by}: {ratio:.3f} of {against}".format(by=result["backend"], **one))
    return passed, {"run": found, "backend": result["backend"], "results": result["results"]}


PARTS: dict[str, Callable[[Path], tuple[bool, object]]] = {
    "references": references,
    "ceilings": ceilings,
    "tests": tests,
    "kernels": kernels,
    "data_parallel": data_parallel,
}


def _run(
    command: list[str], log: Path, environment: os._Environ[str] | dict[str, str]
) -> tuple[bool, object]:
    """Run a program in the repository, its output in a log; show the log if it fails."""
    path = os.pathsep.join(filter(None, (str(ROOT), environment.get("PYTHONPATH", ""))))
    with log.open("wb") as out:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**environment, "PYTHONPATH": path},
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if done.returncode:
        print("\n".join(f"  {line}" for line in lines[-60:]))
    return done.returncode == 0, {"exit_code": done.returncode, "log": log.name, "last": lines[-1:]}


def run_part(name: str, out: Path) -> Attachment:
    """Run one part; an error of it is what it found, and does not keep the others from running."""
    print(f"== {name}", flush=True)
    begin = time.perf_counter()
    try:
        passed, found = PARTS[name](out)
    except Exception as error:  # noqa: BLE001 - named in the result, and the run fails
        passed, found = False, f"{type(error).__name__}: {error}"
        print(f"  {found}")
    seconds = round(time.perf_counter() - begin, 2)
    print(f"   {'passed' if passed else 'FAILED'} in {seconds} s", flush=True)
    return Attachment(name=name, passed=passed, seconds=seconds, found=found)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make gpu", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/gpu"))
    parser.add_argument("--skip", action="append", default=[], choices=sorted(PARTS))
    options = parser.parse_args(arguments)
    why_not = refusal()
    if why_not:
        print(f"make gpu: {why_not}", file=sys.stderr)
        return 2
    from benchmarks.gpu.machine import describe_machine

    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    machine = describe_machine()
    parts = [run_part(name, out) for name in PARTS if name not in options.skip]
    result = {"machine": machine, "skipped": options.skip, "parts": [asdict(p) for p in parts]}
    (out / "gpu.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{out / 'gpu.json'}")
    return 0 if parts and all(part.passed for part in parts) else 1


if __name__ == "__main__":
    sys.exit(main())
