# base = "solution"
# caught_by = "FSDP.memory"
# cause = "too_much_memory"
# also_fails = []

"""Right, at the right traffic, but gathered parameters stay beside the shards."""

# ruff: noqa: F821 - appended to solution.py


class _Flat(_Flat):
    def free(self):
        self.wait()
        self._here = False
