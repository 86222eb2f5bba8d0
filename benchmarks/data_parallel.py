"""The reference's DDP and FSDP beside torch's own, turn by turn in one run, on gloo.

    python -m benchmarks.data_parallel [--ranks 2] [--json FILE]

Takes: nothing. Gives: a table, and JSON with hardware, versions and date. Does not cover: walls;
ranks are plain processes here, on a bare loopback.

A step is forward, backward and what makes its gradients whole. Each pair of steps is of the
reference and of torch, the other way round in the next pair; the ratio is of totals, its interval
a bootstrap over pairs.
"""

import argparse
import copy
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from grader.author import load_folder
from grader.bench.machine import describe_machine

REFERENCE = Path(__file__).resolve().parents[1] / "reference" / "ddp_zero"
LAYERS, WIDTH, ROWS = 12, 512, 512
BUCKET_BYTES = 2 * 4 * (WIDTH * WIDTH + WIDTH)
"""Two layers, so that both sides cut alike: torch fills a bucket up to its limit and beyond."""
WARM, PAIRS = 4, 40
LIMITS = {"DDP": 1.05, "FSDP": 1.2}
"""Most that a step of the reference may take, as a ratio to torch's."""

Step = Callable[[torch.Tensor], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One engine of the reference beside torch's.

    Attributes:
        engine: which one.
        against: what of torch.
        reference_ms: median of a step.
        torch_ms: the same of torch's.
        ratio: of the totals of all steps.
        interval: of the ratio, 95 %.
        at_most: what the ratio should not exceed.
    """

    engine: str
    against: str
    reference_ms: float
    torch_ms: float
    ratio: float
    interval: tuple[float, float]
    at_most: float


def make_model() -> nn.Sequential:
    """Return layers of which each needs the one before."""
    torch.manual_seed(1)
    return nn.Sequential(
        *(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU()) for _ in range(LAYERS))
    )


def reference_step(engine: Any) -> Step:
    """Return a step with an engine of the reference."""

    def step(x: torch.Tensor) -> None:
        engine(x).square().mean().backward()
        engine.finish_backward()

    return step


def torch_step(engine: nn.Module) -> Step:
    """Return a step with an engine of torch."""

    def step(x: torch.Tensor) -> None:
        engine(x).square().mean().backward()

    return step


def make_steps(solution: Any, ranks: int) -> dict[str, tuple[str, Step, Step]]:
    """Return what is compared, by engine: torch's name, our step, torch's step."""
    model = make_model()
    sharded = copy.deepcopy(model)
    mesh = init_device_mesh("cpu", (ranks,))
    for layer in sharded:
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    units = [str(number) for number in range(LAYERS)]
    own = solution.DDP(copy.deepcopy(model), bucket_bytes=BUCKET_BYTES)
    theirs = DistributedDataParallel(copy.deepcopy(model), bucket_cap_mb=BUCKET_BYTES / 2**20)
    return {
        "DDP": ("DistributedDataParallel", reference_step(own), torch_step(theirs)),
        "FSDP": (
            "fully_shard",
            reference_step(solution.FSDP(copy.deepcopy(model), units)),
            torch_step(sharded),
        ),
    }


def time_step(step: Step, x: torch.Tensor) -> float:
    """Return how long a step of all ranks took, seconds."""
    dist.barrier()
    begin = time.perf_counter()
    step(x)
    dist.barrier()
    return time.perf_counter() - begin


def run_rank(rank: int, ranks: int, store: str, out: str) -> None:
    """Take all steps as one rank; rank 0 writes down their times."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    solution = load_folder(REFERENCE, "solution")
    x = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(rank))
    found: dict[str, dict[str, Any]] = {}
    for engine, (against, own, theirs) in make_steps(solution, ranks).items():
        times: list[tuple[float, float]] = []
        for number in range(WARM + PAIRS):
            if number % 2 == 0:
                first = time_step(own, x)
                pair = (first, time_step(theirs, x))
            else:
                first = time_step(theirs, x)
                pair = (time_step(own, x), first)
            if number >= WARM:
                times.append(pair)
        found[engine] = {"against": against, "times": times}
    if rank == 0:
        Path(out).write_text(json.dumps(found), encoding="utf-8")
    dist.destroy_process_group()


def compare(engine: str, against: str, times: list[list[float]]) -> Comparison:
    """Return the ratio of totals with its interval."""
    own, theirs = np.asarray(times).T
    interval = scipy.stats.bootstrap(
        (own, theirs),
        lambda a, b, axis=-1: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    return Comparison(
        engine=engine,
        against=against,
        reference_ms=1e3 * float(np.median(own)),
        torch_ms=1e3 * float(np.median(theirs)),
        ratio=float(own.sum() / theirs.sum()),
        interval=(float(interval.low), float(interval.high)),
        at_most=LIMITS[engine],
    )


def main() -> None:
    """Compare all engines and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine = describe_machine()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/times.json"
        arguments = (options.ranks, f"{folder}/store", out)
        spawn(run_rank, arguments, nprocs=options.ranks)  # type: ignore[no-untyped-call]
        found = json.loads(Path(out).read_text(encoding="utf-8"))
    results = [compare(name, one["against"], one["times"]) for name, one in found.items()]
    print(f"{options.ranks} ranks; steps of {LAYERS} layers of {WIDTH} x {WIDTH}, {ROWS} rows each")
    for one in results:
        print(
            f"{one.engine:5} {one.reference_ms:7.1f} ms  {one.against:24} {one.torch_ms:7.1f} ms  "
            f"ratio {one.ratio:.3f} ({one.interval[0]:.3f} to {one.interval[1]:.3f}), "
            f"goal at most {one.at_most}"
        )
    if options.json:
        sizes = {"layers": LAYERS, "width": WIDTH, "rows": ROWS, "pairs": PAIRS}
        written = {
            "machine": asdict(machine),
            "ranks": options.ranks,
            "sizes": sizes,
            "results": [asdict(one) for one in results],
        }
        options.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
