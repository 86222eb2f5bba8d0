"""What `grade` and `validate` find out about the machine before they measure anything on it."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace

from rich.console import Console

from grader.assignment.device_class import CPU, device_class
from grader.assignment.loaded import LoadedAssignment
from grader.errors import UsageError
from grader.evidence.device import Ceilings, Setting
from grader.performance.measure.ceilings import cache_folder, ceilings_of
from grader.worker.cuda.driver import DeviceDriver, open_device
from grader.worker.machine import TimedMachine


@contextlib.contextmanager
def open_drivers(name: str) -> Iterator[tuple[DeviceDriver, ...]]:
    """Open what `--device` names: nothing for the processor, the first GPU for CUDA.

    `auto` stays on the processor until grading on CUDA has been proven on a machine that has it.

    Raises:
        UsageError: for a device that there is no such thing as.
        DeviceError: if the machine has none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"no device called {name!r}", hint="choose auto, cpu or cuda")
    with contextlib.ExitStack() as stack:
        drivers: tuple[DeviceDriver, ...] = ()
        if name == "cuda":
            drivers = (stack.enter_context(open_device()),)
        yield drivers


def class_of(drivers: tuple[DeviceDriver, ...]) -> str:
    """Return the class of the device that submissions compute on."""
    return device_class(drivers[0].facts.name) if drivers else CPU


def timed_machine(
    loaded: LoadedAssignment, drivers: tuple[DeviceDriver, ...], console: Console
) -> TimedMachine:
    """Return the machine with its ceilings, measured once and kept; none if nothing is timed."""

    def say(sentence: str) -> None:
        console.print(sentence, markup=False, highlight=False, style="dim")

    timed = any(target.tiers for problem in loaded.plan.problems for target in problem.targets)
    if not timed:
        return TimedMachine(drivers=drivers, on_wait=say)
    from grader.performance.measure.ceilings import find_setting, measure_ceilings  # imports torch

    machine = TimedMachine(drivers=drivers, on_wait=say)

    def measure_alone(setting: Setting) -> Ceilings:
        with machine.alone():
            return measure_ceilings(setting)

    ceilings = ceilings_of(
        find_setting("cuda" if drivers else CPU),
        measure_alone,
        folder=cache_folder(os.environ),
        on_notice=say,
    )
    return replace(machine, ceilings=(ceilings,))
