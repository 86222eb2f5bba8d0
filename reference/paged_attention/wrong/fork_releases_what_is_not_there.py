# base = "solution"
# caught_by = "fork.bad_input"
# cause = "wrong_error"
# also_fails = ["fork.combinations"]

"""The release of a sequence that is not there does nothing."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def release(self, sequence):
        if sequence in self._tables:
            super().release(sequence)
