"""Bytes on the network of the reference of `ddp_zero`, against theory, at 2, 3 and 4 ranks.

    python benchmarks/network_traffic.py [--json FILE]

Takes: `unshare`, for a network namespace of its own. Gives: a table, and JSON with
hardware, versions and date. Does not cover: sandboxes, submissions, time.

Ranks are forks without sandboxes that share a loopback with nobody. Its counter is read before and
after a step, when a barrier has passed and nothing moves; nothing is subtracted.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import torch
import torch.distributed as dist

from grader.assignment.declare import load_folder
from grader.runner.linux import bring_loopback_up

ROOT = Path(__file__).resolve().parents[1]
WORLDS = (2, 3, 4)
LAYERS, WIDTH = 16, 512
PARAMETER_BYTES = 4 * LAYERS * WIDTH * WIDTH
QUIET_S = 0.1
"""Acknowledgements of the last bytes have passed by then."""

THEORY = {
    "DDP": ("2 (N-1) G", 2),
    "ZeRO-1": ("(N-1) G + (N-1) P", 2),
    "ZeRO-2": ("(N-1) G + (N-1) P", 2),
    "ZeRO-3": ("3 (N-1) P", 3),
}
"""By kind: the formula, and how often (N-1) times the bytes of the parameters."""


def _loopback_bytes() -> int:
    """Return what `lo` has received. Source: proc(5), /proc/net/dev, the first column."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == "lo":
            return int(counts.split()[0])
    raise SystemExit("no loopback: expected lo in /proc/net/dev")


def _step_of(kind: str, solution: ModuleType, modules: ModuleType) -> Callable[[], None]:
    """Return a step of the reference over 16 MiB of parameters."""
    base = torch.arange((LAYERS + 1) * WIDTH, dtype=torch.float32).sin_() * WIDTH**-0.5
    model = modules.Tower(base, n_layers=LAYERS, width=WIDTH)
    x = torch.full((2, WIDTH), 0.5 + dist.get_rank())
    if kind == "DDP":
        engine = solution.DDP(model)
    elif kind == "ZeRO-3":
        engine = solution.FSDP(model, [f"layers.{number}" for number in range(LAYERS)])
    else:
        stage = int(kind[-1])
        engine = solution.ZeroOptimizer(model.parameters(), stage=stage, lr=0.01)

    def step() -> None:
        (model if kind in ("ZeRO-1", "ZeRO-2") else engine)(x).mean().backward()
        engine.finish_backward()
        if kind in ("ZeRO-1", "ZeRO-2"):
            engine.step()

    return step


def _nothing() -> None:
    """Stand for the step, so that barriers are counted alone."""


def _rank(kind: str, rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)
    place = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=place, rank=rank, world_size=world)
    reference = ROOT / "reference" / "ddp_zero"
    harness = ROOT / "assignments" / "ddp_zero" / "harness"
    step = _step_of(kind, load_folder(reference, "solution"), load_folder(harness, "modules"))
    counts = []
    for work in (_nothing, step):
        dist.barrier()
        time.sleep(QUIET_S)
        before = _loopback_bytes()
        time.sleep(QUIET_S)
        work()
        time.sleep(QUIET_S)
        dist.barrier()
        time.sleep(QUIET_S)
        counts.append(_loopback_bytes() - before)
    if rank == 0:
        (folder / "bytes").write_text(str(counts[1] - counts[0]))
    dist.destroy_process_group()


def measure_step(kind: str, world: int) -> int:
    """Return the bytes on the loopback of one step, less those of the barriers around it."""
    with tempfile.TemporaryDirectory() as folder:
        ranks = []
        for rank in range(world):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    _rank(kind, rank, world, Path(folder))
                    code = 0
                finally:
                    os._exit(code)
            ranks.append(pid)
        if any([os.waitpid(pid, 0)[1] for pid in ranks]):  # every rank is waited for
            raise SystemExit(f"{kind} with {world} ranks: a rank failed")
        return int((Path(folder) / "bytes").read_text())


def _inside() -> None:
    bring_loopback_up()
    rows = []
    for kind, (formula, times) in THEORY.items():
        for world in WORLDS:
            theory = times * (world - 1) * PARAMETER_BYTES
            measured = measure_step(kind, world)
            rows.append(
                {
                    "kind": kind,
                    "world": world,
                    "formula": formula,
                    "theory_bytes": theory,
                    "measured_bytes": measured,
                    "ratio": round(measured / theory, 4),
                }
            )
    json.dump(rows, sys.stdout)


def main() -> None:
    """Measure in a network namespace of our own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        _inside()
        return
    unshare = shutil.which("unshare")
    if unshare is None:
        raise SystemExit("expected the program unshare")
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-W", "ignore", __file__, "--inside"]
    command = [unshare, "--net", "--map-root-user", *program]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    rows = json.loads(ran.stdout)
    for row in rows:
        sys.stdout.write(
            f"{row['kind']:7} {row['world']} ranks  {row['formula']:18} "
            f"{row['theory_bytes']:>12,} {row['measured_bytes']:>12,}  {row['ratio']:.4f}\n"
        )
    if options.json is not None:
        result = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{os.cpu_count()} cores, {platform.platform()}",
            "torch": version("torch"),
            "parameter_bytes": PARAMETER_BYTES,
            "rows": rows,
        }
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
