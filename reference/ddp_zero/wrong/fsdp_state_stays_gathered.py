# base = "solution"
# caught_by = "FSDP.combinations"
# cause = "wrong_value"
# also_fails = []

"""Leaves units gathered after full_state, and finds them there after the step."""

# ruff: noqa: F821 - appended to solution.py


class FSDP(FSDP):
    def full_state(self):
        found = super().full_state()
        for unit in self._units:
            unit.gather()
        return found
