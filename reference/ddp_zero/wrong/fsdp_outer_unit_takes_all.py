# base = "solution"
# caught_by = "FSDP.nested"
# cause = "crash"
# also_fails = []

"""Gives a parameter to the outermost unit that holds it, and gathers it there alone.

The inner unit has nothing left; it frees the outer one's parameters after its own use.
"""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def __init__(self, module, units):
        super().__init__(module, units)
        modules = dict(module.named_modules())
        for inner in units:
            for outer in units:
                if inner.startswith(outer + "."):
                    unit = self._units[list(units).index(outer)]
                    modules[inner].register_forward_pre_hook(lambda *_, unit=unit: unit.free())
