"""Compiles a submission's Triton kernels for devices that need not be there; none of them runs.

Takes: the launches that the submission makes in a box without a device. Gives: what Triton's
compiler and the assembler say of each kernel. Does not cover: believing it (see `advice.claims`);
occupancy (computed on the judge's side).

A launch goes through Triton's own `JITFunction.run`, asked to compile only, with a driver that
names a target and has no device: types, divisibility and constants are those of a real launch.
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
"""Findings per kernel and target: other types or constants seldom say something new."""
MAX_FINDINGS = 32
"""Of one submission, over all kernels and targets."""
MAX_UNREACHED = 32
COMPILE_SECONDS = 40.0
"""Time for all compilations of one submission."""
TOOL_SECONDS = 10.0
MAX_TEXT = 1000
MAX_ARGUMENTS_TEXT = 200
WARP_THREADS = 32

_HARNESS = ("harness", "harness.py")
_RESOURCES = re.compile(r"REG:(\d+) STACK:(\d+) ")
_DEFINITION = re.compile(r"\s*def\s")

Json = Any  # a part of a reply
Value = Any  # what a student passes to a kernel
Frame = list[str | int]  # file name, line, function: as `runner.worker` names places


class _AbsentDevice:
    """Stands in Triton for the driver of a device: it names the target of the next compilation."""

    def __init__(self) -> None:
        self.capability = TARGETS[0]

    def get_current_device(self) -> int:
        """Return a number of the target's own, under which Triton keeps what it compiled."""
        return self.capability

    def get_current_stream(self, _device: int = 0) -> int:
        """Return a stream; nothing is ever put on it."""
        return 0

    def get_current_target(self) -> GPUTarget:
        """Return what to compile for."""
        return GPUTarget("cuda", self.capability, WARP_THREADS)

    def get_active_torch_device(self) -> torch.device:
        """Return where the submission's tensors lie."""
        return torch.device("cpu")


class KernelCompiler:
    """Takes the place of Triton's launcher, and remembers what became of each kernel."""

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
        # Many submissions ask for the interpreter themselves; a set knob outranks the environment.
        triton.knobs.runtime.interpret = False
        driver.set_active(self._device)

        def launch(kernel: JITFunction, *args: Value, **kwargs: Value) -> None:
            options = {k: v for k, v in kwargs.items() if k not in ("grid", "warmup")}
            self._launch(kernel, args, options)

        JITFunction.run = launch
        Autotuner.run = _run_first_configuration

    def report(self) -> Json:
        """Return all findings so far, and the submission's kernels that no launch reached."""
        unreached = [
            {"kernel": kernel.__name__, "frame": _definition(kernel)}
            for kernel in self._kernels()
            # Triton hashes what it compiles, and the functions that a kernel calls with it.
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
            if self._spent_s > COMPILE_SECONDS or self._count() >= MAX_FINDINGS:
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
        """Return what tells this outcome from others of the kernel, and the outcome."""
        try:
            compiled = self._run(kernel, *args, grid=(1,), warmup=True, **options)
        except Exception as error:  # noqa: BLE001 - whatever the compiler raises is the finding
            message, frame = self._explain(kernel, error)
            return f"{frame} {message}", {"error": message[:MAX_TEXT], "error_frame": frame}
        try:
            usage = _resources(compiled)
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            usage = {"unread": f"{type(error).__name__}: {error}"[:MAX_TEXT]}
        arguments = _arguments(compiled.src)[:MAX_ARGUMENTS_TEXT]
        return compiled.hash, {"arguments": arguments, **usage}

    def _explain(self, kernel: JITFunction, error: Exception) -> tuple[str, Frame]:
        """Return the compiler's message and the place of it in the submission."""
        # The assembler's message goes on with a command line that only works in this box.
        message = f"{type(error).__name__}: {error}".partition("\nRepro command")[0].rstrip()
        best = (message, self._launch_location())
        known = [kernel, *self._kernels()]
        at: BaseException | None = error
        while isinstance(at, CompilationError):  # a function that a kernel calls is named last
            owner = next((k for k in known if k.src == at.src), None)
            line = getattr(at.node, "lineno", 0)
            if owner is not None and line:
                location = _definition(owner)
                best = (
                    at.error_message or str(at),
                    [location[0], int(location[1]) + line - 1, location[2]],
                )
            at = at.__cause__
        return best

    def _launch_location(self) -> Frame:
        """Return the innermost line of the submission that is being executed."""
        frames = [f for f in traceback.extract_stack() if self._is_theirs(f.filename)]
        if not frames:
            return ["", 0, ""]
        name = os.path.relpath(frames[-1].filename, self._home)
        return [name, frames[-1].lineno or 0, frames[-1].name]

    def _kernels(self) -> Iterator[JITFunction]:
        """Yield the kernels that the submission's modules name, each once."""
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

    def _count(self) -> int:
        return sum(len(found) for found in self._found.values())


def prepare() -> None:
    """Do once, before the fork, what Triton would do again in every child.

    Its key is a hash of its own libraries, hundreds of megabytes of them.
    """
    from triton.runtime import cache

    if hasattr(cache, "triton_key"):
        cache.triton_key()


def _run_first_configuration(tuner: Autotuner, *args: Value, **kwargs: Value) -> None:
    """Stand for `Autotuner.run`: nothing can be timed here, so the first configuration is taken."""
    tuner.fn.run(*args, **kwargs, **tuner.configs[0].all_kwargs())


def _unwrap(thing: Value) -> JITFunction | None:
    """Return the kernel under tuners and heuristics; None if there is no kernel."""
    for _ in range(8):
        if isinstance(thing, JITFunction):
            return thing
        if not isinstance(thing, triton.runtime.KernelInterface):
            return None
        thing = getattr(thing, "fn", None)
    return None


def _definition(kernel: JITFunction) -> Frame:
    """Return where `def` of a kernel stands, below its decorators: line 1 of what is compiled."""
    lines = kernel.raw_src
    above = next((n for n, line in enumerate(lines) if _DEFINITION.match(line)), 0)
    file = os.path.basename(kernel.fn.__code__.co_filename)
    return [file, kernel.starting_line_number + above, kernel.__name__]


def _resources(compiled: Value) -> Json:
    """Return what a compiled kernel takes on its target, as the assembler says.

    Source: `cuobjdump --dump-resource-usage` (CUDA binary utilities): REG is registers per thread,
    STACK bytes of local memory per thread, where Triton puts nothing but spilled registers.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        message = subprocess.run(
            [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name],
            capture_output=True,
            text=True,
            timeout=TOOL_SECONDS,
            check=True,
        ).stdout
    usage = _RESOURCES.search(message)
    if usage is None:
        raise RuntimeError("cuobjdump names no registers")
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
        f"{name} = {constants[location]!r}" if location in constants else f"{name}: {kind}"
        for location, (name, kind) in enumerate(source.signature.items())
    )
