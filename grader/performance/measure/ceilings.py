"""Measures a device's ceilings, bytes and operations per second, and caches them between runs.

Ceilings are the two limits of the roofline (`performance.decide.plausibility`). Each is the fastest
over several sizes of the median of several repeats. The cache holds one file per device class. A
file of another device, driver, torch, Triton or method is not used, nor is one that cannot be read:
the ceilings are then measured anew, with a notice.
"""

import json
import math
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import cattrs
import torch

from grader.assignment.target import CPU, device_class
from grader.evidence.device import TF32, Ceilings, MatmulRate, MemoryRate, Setting
from grader.strict import json_converter

METHOD = "1: fastest over sizes of the median of repeats; cuda: events, cold L2"

CPU_SIZES_BYTES = tuple(1 << power for power in range(14, 28, 2))
CUDA_SIZES_BYTES = tuple(1 << power for power in range(24, 34, 2))
CPU_MATRICES = (64, 128, 256, 512)
CUDA_MATRICES = (2048, 4096, 8192)
CPU_DTYPES = (torch.float32, torch.float64, torch.bfloat16)
CUDA_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

REPEATS = 5
CPU_REPEAT_SECONDS = 0.01
FREE_FACTOR = 8
"""A size is measured if this many times as much device memory is free."""

Work = Callable[[], object]
Clock = Callable[[Work], float]


def find_setting(device: str) -> Setting:
    """Return what identifies `device` (`cpu` or `cuda`) of this machine and the software on it."""
    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = ""
    if device == CPU:
        hardware, driver, name = _processor(), platform.release(), CPU
    else:
        facts = torch.cuda.get_device_properties(torch.cuda.current_device())
        name = facts.name
        hardware = f"{name}, {facts.total_memory >> 20} MiB, {facts.multi_processor_count} SM"
        driver = f"CUDA {torch.version.cuda}, {_kernel_module()}"
    return Setting(
        device_class=device_class(name),
        hardware=hardware,
        driver=driver,
        torch=torch.__version__,
        triton=triton,
        method=METHOD,
    )


def measure_ceilings(setting: Setting) -> Ceilings:
    """Measure the device of a setting; a processor with one thread."""
    if setting.device_class == CPU:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            memory = _memory_rates(CPU, CPU_SIZES_BYTES, _cpu_seconds)
            matmul = _matmul_rates(CPU, CPU_DTYPES, CPU_MATRICES, _cpu_seconds)
        finally:
            torch.set_num_threads(before)
    else:
        try:
            memory, matmul = _cuda_rates()
        finally:
            torch.cuda.empty_cache()  # what torch caches would be missing for submissions
    return Ceilings(
        setting=setting,
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        memory=memory,
        matmul=matmul,
    )


def _cuda_rates() -> tuple[tuple[MemoryRate, ...], tuple[MatmulRate, ...]]:
    clock = _cold_clock()
    free_bytes, _ = torch.cuda.mem_get_info()
    sizes = [size for size in CUDA_SIZES_BYTES if size * FREE_FACTOR <= free_bytes]
    memory = _memory_rates("cuda", sizes, clock)
    matmul = _matmul_rates("cuda", CUDA_DTYPES, CUDA_MATRICES, clock)
    return memory, (*matmul, _tf32_rate(clock))


def _memory_rates(device: str, sizes: Sequence[int], clock: Clock) -> tuple[MemoryRate, ...]:
    """Return the fastest copy, read and write; a copy's bytes count twice (read and written)."""
    best: dict[str, MemoryRate] = {}
    for size_bytes in sizes:
        source = torch.rand(size_bytes // 4, device=device)
        target = torch.rand(size_bytes // 4, device=device)
        ways: tuple[tuple[str, int, Work], ...] = (
            ("copy", 2, partial(target.copy_, source)),
            ("read", 1, source.sum),
            ("write", 1, partial(target.fill_, 1.5)),
        )
        for way, factor, work in ways:
            rate = factor * size_bytes / clock(work)
            if way not in best or rate > best[way].bytes_per_s:
                best[way] = MemoryRate(way=way, bytes_per_s=rate, size_bytes=size_bytes)
    return tuple(best.values())


def _matmul_rates(
    device: str, dtypes: Sequence[torch.dtype], sizes: Sequence[int], clock: Clock
) -> tuple[MatmulRate, ...]:
    """Return the fastest product of n × n matrices of each dtype; it has 2·n³ operations."""
    found: list[MatmulRate] = []
    for dtype in dtypes:
        rates: list[tuple[float, int]] = []
        for size in sizes:
            left = torch.rand(size, size, device=device).to(dtype)
            right = torch.rand(size, size, device=device).to(dtype)
            out = torch.empty_like(left)
            rates.append((2 * size**3 / clock(partial(torch.mm, left, right, out=out)), size))
        rate, size = max(rates)
        name = str(dtype).removeprefix("torch.")
        found.append(MatmulRate(dtype=name, flops_per_s=rate, size=size))
    return tuple(found)


def _tf32_rate(clock: Clock) -> MatmulRate:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        (rate,) = _matmul_rates("cuda", (torch.float32,), CUDA_MATRICES, clock)
    finally:
        torch.set_float32_matmul_precision(before)
    return replace(rate, dtype=TF32)


def _cpu_seconds(work: Work) -> float:
    """Return the median time of one call in s; repeats are long enough for the clock."""

    def repeat(count: int) -> float:
        begin = time.perf_counter()
        for _ in range(count):
            work()
        return time.perf_counter() - begin

    count = 1
    while repeat(count) < CPU_REPEAT_SECONDS:
        count *= 2
    return statistics.median(repeat(count) / count for _ in range(REPEATS))


def _cold_clock() -> Clock:
    """Return a clock of CUDA events that overwrites the L2 cache before each repeat."""
    cache_bytes = torch.cuda.get_device_properties(torch.cuda.current_device()).L2_cache_size
    flush = torch.empty(max(2 * cache_bytes, 1 << 25), dtype=torch.int8, device="cuda")

    def seconds(work: Work) -> float:
        work()  # warm-up: loads modules, creates handles
        repeats: list[float] = []
        for _ in range(REPEATS):
            begin = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            flush.zero_()
            begin.record()
            work()
            end.record()
            torch.cuda.synchronize()
            repeats.append(begin.elapsed_time(end) / 1e3)
        return statistics.median(repeats)

    return seconds


def _processor() -> str:
    """Return the processor's name and the instruction set that torch uses.

    Source: `model name` in /proc/cpuinfo, proc_cpuinfo(5).
    """
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    found = re.search(r"^model name\s*:\s*(.*?)\s*$", text, re.MULTILINE)
    name = found[1] if found else platform.processor() or platform.machine()
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def _kernel_module() -> str:
    """Return the version of NVIDIA's Linux kernel module.

    Source: the first line of /proc/driver/nvidia/version, as the module writes it.
    """
    path = Path("/proc/driver/nvidia/version")
    if not path.is_file():
        return "driver unknown"
    return path.read_text(encoding="utf-8", errors="replace").splitlines()[0].strip()


_CONVERTER = json_converter()
_MAX_FILE_BYTES = 1 << 20


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of this user's caches.

    Source: XDG Base Directory Specification 0.8, `XDG_CACHE_HOME`.
    """
    named = environment.get("XDG_CACHE_HOME", "")
    root = Path(named) if named.startswith("/") else Path.home() / ".cache"
    return root / "grader"


def ceilings_of(
    setting: Setting,
    measure: Callable[[Setting], Ceilings],
    *,
    folder: Path,
    on_notice: Callable[[str], None],
) -> Ceilings:
    """Return the ceilings of a setting, from the cache in `folder` if it has them.

    `on_notice` is called with a sentence when a file is not used or cannot be written.
    """
    path = folder / f"ceilings-{setting.device_class.replace(':', '-').replace('*', 'any')}.json"
    cached = _read(path, on_notice)
    if cached is not None:
        if cached.setting == setting:
            return cached
        on_notice(f"{path}: {_difference(cached.setting, setting)}; measured anew")
    made = measure(setting)
    try:
        _write(path, made)
    except OSError as error:
        on_notice(f"{path}: ceilings cannot be cached: {error.strerror}")
    return made


def express(ceilings: Ceilings) -> str:
    """Return the JSON form of ceilings."""
    return json.dumps(_CONVERTER.unstructure(ceilings), indent=2, allow_nan=False) + "\n"


def _read(path: Path, on_notice: Callable[[str], None]) -> Ceilings | None:
    """Return the ceilings in a file; None, with a notice, if it is invalid; None if missing."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
        found = _CONVERTER.structure(json.loads(text), Ceilings)
        rates = [rate.bytes_per_s for rate in found.memory]
        rates += [rate.flops_per_s for rate in found.matmul]
        if not found.memory or not found.matmul or not all(0 < rate < math.inf for rate in rates):
            raise ValueError("expected rates of memory and of products, all positive and finite")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError, cattrs.BaseValidationError) as error:
        on_notice(f"{path}: cannot be used ({type(error).__name__}); measured anew")
        return None
    return found


def _difference(cached: Setting, now: Setting) -> str:
    values = ((name, getattr(cached, name), getattr(now, name)) for name in Setting.__slots__)
    return ", ".join(f"{name} was {old!r}, is {new!r}" for name, old, new in values if old != new)


def _write(path: Path, ceilings: Ceilings) -> None:
    """Replace the file atomically, so that no reader finds half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=path.name) as folder:
        scratch = Path(folder) / path.name
        scratch.write_text(express(ceilings), encoding="utf-8")
        scratch.replace(path)
