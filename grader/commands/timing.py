"""What `grade` and `validate` share: the device, and what it can reach at most."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console

from grader.assignment.target import CPU, device_class
from grader.commands.listing import DeviceOption as DeviceOption
from grader.commands.listing import ImageOption as ImageOption
from grader.commands.listing import SandboxOption as SandboxOption
from grader.errors import UsageError
from grader.evidence.device import Ceilings, Setting

if TYPE_CHECKING:  # these import torch: only when something is graded
    from grader.assignment.loaded import LoadedAssignment
    from grader.worker.cuda.driver import DeviceDriver
    from grader.worker.machine import TimedMachine


@contextlib.contextmanager
def open_drivers(name: str) -> "Iterator[tuple[DeviceDriver, ...]]":
    """Open the device that `--device` names: the first GPU for `cuda`, nothing for `cpu`.

    `auto` means `cpu` until grading on CUDA has been validated on a machine with a GPU.

    Raises:
        UsageError: if the name is unknown.
        DeviceError: if the machine has no such device.
    """
    require_device_name(name)
    if name == "cuda":
        from grader.worker.cuda.driver import open_device

        with open_device() as driver:
            yield (driver,)
    else:
        yield ()


def require_device_name(name: str) -> None:
    """Raise a UsageError unless `--device` can be this name."""
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"unknown device {name!r}", hint="choose auto, cpu or cuda")


def class_of(drivers: "tuple[DeviceDriver, ...]") -> str:
    """Return the class of the device that submissions compute on."""
    return device_class(drivers[0].facts.name) if drivers else CPU


def timed_machine(
    loaded: "LoadedAssignment", drivers: "tuple[DeviceDriver, ...]", console: Console
) -> "TimedMachine":
    """Return the machine, with its ceilings if a target needs them; they are measured once."""
    from grader.performance.measure.ceilings import (
        cache_folder,
        ceilings_of,
        find_setting,
        measure_ceilings,
    )
    from grader.worker.machine import TimedMachine

    def tell(sentence: str) -> None:
        console.print(sentence, markup=False, highlight=False, style="dim")

    machine = TimedMachine(drivers=drivers, on_wait=tell)
    if not any(target.tiers for problem in loaded.plan.problems for target in problem.targets):
        return machine

    def measure_alone(setting: Setting) -> Ceilings:
        with machine.alone():
            return measure_ceilings(setting)

    ceilings = ceilings_of(
        find_setting("cuda" if drivers else CPU),
        measure_alone,
        folder=cache_folder(os.environ),
        on_notice=tell,
    )
    return replace(machine, ceilings=(ceilings,))
