"""What groups of ranks cost: start and end of a world, and what an all-reduce puts on the network.

    python benchmarks/ranks.py [--sandbox bwrap] [--json FILE]

Takes: one of this machine's sandboxes. Gives: a table, and JSON with hardware, versions and date.
Does not cover: assignments.
"""

import argparse
import json
import os
import platform
import statistics
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from grader.assignment.steps import Call
from grader.assignment.table import Limits
from grader.intake.submission import Origin, SourceFile, Submission
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE
from grader.sandbox.pool import SandboxPool
from grader.sandbox.sandbox import Sandbox
from grader.worker.ranks.ranks import RankedWorker

WORLDS = (1, 2, 3, 4)
STARTS = 12
NUMBERS = 16 << 20
"""float32 numbers of one all-reduce: 64 MiB."""
LIMITS = Limits(ranks=max(WORLDS), call_wall_s=60.0)
TEXT = """
import torch
import torch.distributed as dist

def reduce(numbers):
    dist.all_reduce(torch.ones(numbers))
"""
SUBMISSION = Submission(
    name="reduce",
    sha256="",
    origin=Origin.MODULE,
    entry="submission",
    files=(SourceFile(name="submission.py", text=TEXT),),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldCost:
    """What one size of a world costs.

    Attributes:
        ranks: of the world.
        start_ms: fork, confinement, control groups, process group and import of the submission:
            least, median and most of `STARTS`.
        end_ms: until no process, file or control group of it is left; likewise.
        wire_to_theory: bytes of an all-reduce on the loopback over 2 (N - 1) S.
        reduce_ms: time of that all-reduce, median of three.
    """

    ranks: int
    start_ms: tuple[float, float, float]
    end_ms: tuple[float, float, float]
    wire_to_theory: float
    reduce_ms: float


def measure_world(sandbox: Sandbox, ranks: int) -> WorldCost:
    """Start and end worlds of `ranks`, and let one reduce."""
    starts: list[float] = []
    ends: list[float] = []
    for _ in range(STARTS):
        with RankedWorker(sandbox, SUBMISSION, limits=LIMITS, most=ranks) as worker:
            worker.load()
            begin = time.perf_counter()
            worker.world(ranks)
            starts.append(1e3 * (time.perf_counter() - begin))
            begin = time.perf_counter()
            worker.end_case()
            ends.append(1e3 * (time.perf_counter() - begin))
    with RankedWorker(sandbox, SUBMISSION, limits=LIMITS, most=ranks) as worker:
        worker.load()
        worker.world(ranks)
        ratio, reduce_ms = _reduce(worker, ranks)
    return WorldCost(
        ranks=ranks,
        start_ms=_spread(starts),
        end_ms=_spread(ends),
        wire_to_theory=ratio,
        reduce_ms=reduce_ms,
    )


def _reduce(worker: RankedWorker, ranks: int) -> tuple[float, float]:
    times: list[float] = []
    before = worker.usage().traffic_bytes
    for _ in range(3):
        begin_ns = worker.wall_ns
        worker.ask(dict.fromkeys(range(ranks), Call("reduce", NUMBERS)), None)
        times.append((worker.wall_ns - begin_ns) / 1e6)
    theory = 3 * 2 * (ranks - 1) * 4 * NUMBERS
    sent = worker.usage().traffic_bytes - before
    return sent / theory if theory else 0.0, statistics.median(times)


def _spread(samples: list[float]) -> tuple[float, float, float]:
    return min(samples), statistics.median(samples), max(samples)


def main() -> None:
    """Measure all worlds and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sandbox", default="bwrap")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    pool = SandboxPool(
        options.sandbox,
        LIMITS,
        isolation=Isolation.WARM,
        jobs=1,
        device="cpu",
        image=DEFAULT_IMAGE,
    )
    with closing(pool), pool.borrow() as sandbox:
        costs = [measure_world(sandbox, ranks) for ranks in WORLDS]
    print("ranks  start ms (median, most)  end ms  network / theory  64 MiB all-reduce ms")
    for cost in costs:
        print(
            f"{cost.ranks:5}  {cost.start_ms[1]:8.0f} {cost.start_ms[2]:8.0f}"
            f"  {cost.end_ms[1]:13.0f}  {cost.wire_to_theory:13.4f}  {cost.reduce_ms:20.0f}"
        )
    if options.json:
        found = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "load_1min": load,
            "python": platform.python_version(),
            "torch": version("torch"),
            "sandbox": options.sandbox,
            "worlds": [asdict(cost) for cost in costs],
        }
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
