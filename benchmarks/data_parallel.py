"""The reference's DDP and FSDP beside torch's own, turn by turn in one run.

    python -m benchmarks.data_parallel [--ranks 2] [--device auto] [--json FILE]

Takes: nothing. Gives: a table, and JSON with hardware, versions and date. Does not cover:
sandboxes; ranks are plain processes here. They talk by NCCL if there is a GPU for each, else by
gloo, on the processor and a bare loopback.

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

from benchmarks.verdicts.machine import describe_machine
from grader.author import load_folder

REFERENCE = Path(__file__).resolve().parents[1] / "reference" / "ddp_zero"
WARM, PAIRS = 4, 40
LIMITS = {"DDP": 1.05, "FSDP": 1.2}
"""Most that a step of the reference may take, as a ratio to torch's."""

Step = Callable[[torch.Tensor], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What is trained on one kind of device.

    Attributes:
        layers: of the model, each needing the one before.
        width: inputs and outputs of a layer.
        rows: of a batch, on each rank.
    """

    layers: int
    width: int
    rows: int

    @property
    def bucket_bytes(self) -> int:
        """Two layers, so that both sides cut alike: torch fills a bucket up to its limit."""
        return 2 * 4 * (self.width * self.width + self.width)


SIZES = {
    "cpu": Sizes(layers=12, width=512, rows=512),
    "cuda": Sizes(layers=24, width=4096, rows=4096),
}
BACKENDS = {"cpu": "gloo", "cuda": "nccl"}


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


def find_device(asked: str, ranks: int) -> str:
    """Return `cuda` if it is asked for, or if there is a GPU for each rank.

    Raises:
        SystemExit: if GPUs are asked for that there are not.
    """
    gpus = torch.cuda.device_count()
    if asked == "cuda" and gpus < ranks:
        raise SystemExit(f"--device cuda: expected a GPU for each of {ranks} ranks, found {gpus}")
    return asked if asked != "auto" else "cuda" if gpus >= ranks else "cpu"


def make_model(sizes: Sizes) -> nn.Sequential:
    """Return layers of which each needs the one before."""
    torch.manual_seed(1)
    return nn.Sequential(
        *(
            nn.Sequential(nn.Linear(sizes.width, sizes.width), nn.GELU())
            for _ in range(sizes.layers)
        )
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


def make_steps(solution: Any, ranks: int, device: str) -> dict[str, tuple[str, Step, Step]]:
    """Return what is compared, by engine: torch's name, our step, torch's step."""
    sizes = SIZES[device]
    model = make_model(sizes)
    sharded = copy.deepcopy(model)
    mesh = init_device_mesh(device, (ranks,))
    for layer in sharded:
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    units = [str(number) for number in range(sizes.layers)]
    own = solution.DDP(copy.deepcopy(model), bucket_bytes=sizes.bucket_bytes)
    bucket_mib = sizes.bucket_bytes / 2**20
    theirs = DistributedDataParallel(copy.deepcopy(model), bucket_cap_mb=bucket_mib)
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
    wait_for_all(x.device)
    begin = time.perf_counter()
    step(x)
    wait_for_all(x.device)
    return time.perf_counter() - begin


def wait_for_all(device: torch.device) -> None:
    """Wait until every rank is here and its device idle."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    dist.barrier()


def run_rank(rank: int, ranks: int, device: str, store: str, out: str) -> None:
    """Take all steps as one rank; rank 0 writes down their times."""
    torch.set_num_threads(1)
    place = torch.device("cuda", rank) if device == "cuda" else torch.device("cpu")
    if device == "cuda":
        torch.cuda.set_device(place)
        torch.set_default_device(place)  # the reference names no device
    dist.init_process_group(
        BACKENDS[device], init_method=f"file://{store}", rank=rank, world_size=ranks
    )
    solution = load_folder(REFERENCE, "solution")
    shape = SIZES[device].rows, SIZES[device].width
    x = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(rank), device="cpu")
    x = x.to(place)
    found: dict[str, dict[str, Any]] = {}
    for engine, (against, own, theirs) in make_steps(solution, ranks, device).items():
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
    parser.add_argument("--device", choices=("auto", *SIZES), default="auto")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = find_device(options.device, options.ranks)
    machine = describe_machine()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/times.json"
        arguments = (options.ranks, device, f"{folder}/store", out)
        spawn(run_rank, arguments, nprocs=options.ranks)  # type: ignore[no-untyped-call]
        found = json.loads(Path(out).read_text(encoding="utf-8"))
    results = [compare(name, one["against"], one["times"]) for name, one in found.items()]
    sizes = SIZES[device]
    print(
        f"{options.ranks} ranks on {device}, {BACKENDS[device]}; steps of {sizes.layers} layers of "
        f"{sizes.width} x {sizes.width}, {sizes.rows} rows each"
    )
    for one in results:
        print(
            f"{one.engine:5} {one.reference_ms:7.1f} ms  {one.against:24} {one.torch_ms:7.1f} ms  "
            f"ratio {one.ratio:.3f} ({one.interval[0]:.3f} to {one.interval[1]:.3f}), "
            f"goal at most {one.at_most}"
        )
    if options.json:
        written = {
            "machine": asdict(machine),
            "ranks": options.ranks,
            "backend": BACKENDS[device],
            "sizes": {**asdict(sizes), "pairs": PAIRS},
            "results": [asdict(one) for one in results],
        }
        options.json.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
