# base = "solution"
# caught_by = "fork.blocks"
# cause = "wrong_value"
# also_fails = []

"""The number of a sequence that has ended is given again."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def release(self, sequence):
        super().release(sequence)
        if sequence == self._created - 1:
            self._created -= 1
