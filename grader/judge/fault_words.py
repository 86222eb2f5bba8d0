"""A fault as one sentence that any student may read.

Takes: a `Fault`. Gives: `describe_fault`. Does not cover: its details, which may repeat hidden
inputs. Pure.
"""

from grader.measure.measurement import Fault


def describe_fault(fault: Fault) -> str:
    """Return what happened and where; of a group, where each of its ranks stood."""
    if not fault.stacks:
        return f"{fault.message} ({fault.where})" if fault.where else fault.message
    stood = (
        f"rank {stack.rank} {stack.state}" + (f" ({stack.where})" if stack.where else "")
        for stack in fault.stacks
    )
    return f"{fault.message}. When the grader looked, {', '.join(stood)}"
