# base = "solution"
# caught_by = "fork.exhaustion"
# cause = "wrong_value"
# also_fails = []

"""Takes the blocks that there are, then raises."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def append(self, sequence, k_THD, v_THD):
        try:
            super().append(sequence, k_THD, v_THD)
        except RuntimeError:
            self._known(sequence).extend(self._blocks.allocate(self.n_free))
            raise
