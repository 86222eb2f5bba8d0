"""Compiles a submission's Triton kernels for devices that need not exist here; no kernel runs.

In a worker without a device, each launch only compiles. The report has what Triton's compiler and
the assembler say about each kernel. The judge treats it as a claim (see `advice.claims`) and
computes the occupancy itself.

A launch goes through Triton's own `JITFunction.run`, with the option to compile only and a driver
that names a target but has no device. So types, divisibility and constants are those of a real
launch.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler.errors import CompilationError
from triton.runtime.autotuner import Autotuner
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

TARGETS = (80, 90)
"""Compute capabilities, times ten: sm_80 (A100) and sm_90 (H100, H200)."""
MAX_VARIANTS = 2
"""Findings per kernel and target; more types and constants rarely add anything new."""
MAX_FINDINGS = 32
"""Per submission, over all kernels and targets."""
MAX_UNREACHED = 32
COMPILE_SECONDS = 40.0
"""For all compilations of one submission together."""
TOOL_SECONDS = 10.0
MAX_TEXT = 1000
MAX_ARGUMENTS_TEXT = 200
WARP_THREADS = 32

_HARNESS = ("harness", "harness.py")
_RESOURCES = re.compile(r"REG:(\d+) STACK:(\d+) ")
_DEFINITION = re.compile(r"\s*def\s")

Json = Any  # a part of a reply
Value = Any  # what a student passes to a kernel
Frame = list[str | int]  # file name, line, function, as in `runner.worker`


class _AbsentDevice:
    """Replaces Triton's device driver: it only names the target of the next compilation."""

    def __init__(self) -> None:
        self.capability = TARGETS[0]

    def get_current_device(self) -> int:
        """Return a number for the target; Triton caches compiled kernels under it."""
        return self.capability

    def get_current_stream(self, _device: int = 0) -> int:
        """Return a stream; it is never used."""
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.capability, WARP_THREADS)

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")


class KernelCompiler:
    """Replaces Triton's launcher by one that compiles, and keeps the outcome for each kernel."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._device = _AbsentDevice()
        self._run = JITFunction.run
        self._launched: dict[int, JITFunction] = {}
        self._found: dict[tuple[int, int], dict[str, Json]] = {}
        self._spent_s = 0.0
        self._left_out = False

    def install(self) -> None:
        """Compile instead of launching, from here on and for the rest of this process."""
        # Many submissions set TRITON_INTERPRET themselves; this knob overrides the environment.
        triton.knobs.runtime.interpret = False
        driver.set_active(self._device)

        def launch(kernel: JITFunction, *args: Value, **kwargs: Value) -> None:
            options = {k: v for k, v in kwargs.items() if k not in ("grid", "warmup")}
            self._launch(kernel, args, options)

        JITFunction.run = launch
        Autotuner.run = _run_first_configuration

    def report(self) -> Json:
        """Return all findings so far, and the kernels that were never launched."""
        unreached = [
            {"kernel": kernel.__name__, "frame": _definition(kernel)}
            for kernel in self._kernels()
            # Triton hashes each kernel that it compiles, and the functions that the kernel calls.
            if id(kernel) not in self._launched and kernel.hash is None
        ][:MAX_UNREACHED]
        findings = [finding for found in self._found.values() for finding in found.values()]
        return {"findings": findings, "unreached": unreached, "left_out": self._left_out}

    def _launch(
        self, kernel: JITFunction, args: tuple[Value, ...], options: dict[str, Value]
    ) -> None:
        if not self._is_theirs(kernel.fn.__code__.co_filename):
            return
        self._launched[id(kernel)] = kernel
        for capability in TARGETS:
            found = self._found.setdefault((id(kernel), capability), {})
            if len(found) >= MAX_VARIANTS:
                continue
            all_found = sum(map(len, self._found.values()))
            if self._spent_s > COMPILE_SECONDS or all_found >= MAX_FINDINGS:
                self._left_out = True
                return
            self._device.capability = capability
            begin = time.monotonic()
            key, message = self._compile(kernel, args, options)
            self._spent_s += time.monotonic() - begin
            about = {"kernel": kernel.__name__, "frame": _definition(kernel), "target": capability}
            found.setdefault(key, {**about, **message})

    def _compile(
        self, kernel: JITFunction, args: tuple[Value, ...], options: dict[str, Value]
    ) -> tuple[str, Json]:
        """Return a key that is the same for equal outcomes of the kernel, and the outcome."""
        try:
            compiled = self._run(kernel, *args, grid=(1,), warmup=True, **options)
        except Exception as error:  # noqa: BLE001 - any error of the compiler is a finding
            message, frame = self._explain(kernel, error)
            return f"{frame} {message}", {"error": message[:MAX_TEXT], "error_frame": frame}
        try:
            usage = _resources(compiled)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            usage = {"unread": f"{type(error).__name__}: {error}"[:MAX_TEXT]}
        arguments = _arguments(compiled.src)[:MAX_ARGUMENTS_TEXT]
        return compiled.hash, {"arguments": arguments, **usage}

    def _explain(self, kernel: JITFunction, error: Exception) -> tuple[str, Frame]:
        """Return the compiler's message and its source location in the submission."""
        # The assembler's message ends with a command line that works only in this worker.
        message = f"{type(error).__name__}: {error}".partition("\nRepro command")[0].rstrip()
        best = (message, self._launch_location())
        known = [kernel, *self._kernels()]
        at: BaseException | None = error
        while isinstance(at, CompilationError):  # the last cause is in the innermost function
            owner = next((k for k in known if k.src == at.src), None)
            line = getattr(at.node, "lineno", 0)
            if owner is not None and line:
                file, first, name = _definition(owner)
                best = (at.error_message or str(at), [file, int(first) + line - 1, name])
            at = at.__cause__
        return best

    def _launch_location(self) -> Frame:
        """Return the submission's innermost line on the current call stack."""
        frames = [f for f in traceback.extract_stack() if self._is_theirs(f.filename)]
        if not frames:
            return ["", 0, ""]
        name = os.path.relpath(frames[-1].filename, self._home)
        return [name, frames[-1].lineno or 0, frames[-1].name]

    def _kernels(self) -> Iterator[JITFunction]:
        """Yield each kernel once that a module of the submission has a name for."""
        seen: set[int] = set()
        for module in list(sys.modules.values()):
            if not self._is_theirs(getattr(module, "__file__", None) or ""):
                continue
            for thing in list(vars(module).values()):
                kernel = _unwrap(thing)
                if kernel is None or id(kernel) in seen:
                    continue
                seen.add(id(kernel))
                if self._is_theirs(kernel.fn.__code__.co_filename):
                    yield kernel

    def _is_theirs(self, path: str) -> bool:
        """Return whether a file is the student's; the harness is not."""
        inside, _, name = path.rpartition(f"{self._home}/")
        return not inside and name != path and name.partition("/")[0] not in _HARNESS


def prepare() -> None:
    """Compute Triton's cache key before the fork; every child would compute it again.

    It is a hash over hundreds of megabytes of Triton's own libraries.
    """
    from triton.runtime import cache

    if hasattr(cache, "triton_key"):
        cache.triton_key()


def _run_first_configuration(tuner: Autotuner, *args: Value, **kwargs: Value) -> None:
    """Replace `Autotuner.run`: use the first configuration, because nothing can be timed here."""
    tuner.fn.run(*args, **kwargs, **tuner.configs[0].all_kwargs())


def _unwrap(thing: Value) -> JITFunction | None:
    """Return the kernel inside autotuners and heuristics; None if there is none."""
    for _ in range(8):
        if isinstance(thing, JITFunction):
            return thing
        if not isinstance(thing, triton.runtime.KernelInterface):
            return None
        thing = getattr(thing, "fn", None)
    return None


def _definition(kernel: JITFunction) -> Frame:
    """Return the location of a kernel's `def`, which is line 1 of what Triton compiles."""
    lines = kernel.raw_src
    above = next((n for n, line in enumerate(lines) if _DEFINITION.match(line)), 0)
    file = os.path.basename(kernel.fn.__code__.co_filename)
    return [file, kernel.starting_line_number + above, kernel.__name__]


def _resources(compiled: Value) -> Json:
    """Return the resources that a compiled kernel uses on its target, according to the assembler.

    Source: `cuobjdump --dump-resource-usage` (CUDA binary utilities): REG is registers per thread,
    STACK bytes of local memory per thread, which Triton uses only for spilled registers.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        output = subprocess.run(
            [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name],
            capture_output=True,
            text=True,
            timeout=TOOL_SECONDS,
            check=True,
        ).stdout
    usage = _RESOURCES.search(output)
    if usage is None:
        raise RuntimeError("cuobjdump printed no registers")
    return {
        "registers": int(usage[1]),
        "spill_bytes": int(usage[2]),
        "shared_bytes": compiled.metadata.shared,
        "warps": compiled.metadata.num_warps,
    }


def _arguments(source: Value) -> str:
    """Return the types and constants that a kernel was compiled for."""
    constants = {path[0]: value for path, value in source.constants.items() if len(path) == 1}
    return ", ".join(
        f"{name} = {constants[index]!r}" if index in constants else f"{name}: {kind}"
        for index, (name, kind) in enumerate(source.signature.items())
    )
