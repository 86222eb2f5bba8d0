# base = "solution"
# caught_by = "fork.bad_input"
# cause = "wrong_error"
# also_fails = ["fork.combinations"]

"""An append to a sequence that is not there begins it."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def append(self, sequence, k_THD, v_THD):
        if sequence not in self._tables:
            self._tables[sequence], self._lengths[sequence] = [], 0
        super().append(sequence, k_THD, v_THD)
