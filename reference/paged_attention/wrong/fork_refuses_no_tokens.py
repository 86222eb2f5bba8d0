# base = "solution"
# caught_by = "fork.branches"
# cause = "crash"
# also_fails = ["fork.blocks", "fork.combinations", "fork.exhaustion"]

"""Refuses an append of no tokens."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def append(self, sequence, k_THD, v_THD):
        _require(k_THD.shape[0] > 0, "nothing to append")
        super().append(sequence, k_THD, v_THD)
