# base = "solution"
# caught_by = "fork.combinations"
# cause = "wrong_error"
# also_fails = []

"""Checks the dtype of keys alone: values of another one are converted."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def append(self, sequence, k_THD, v_THD):
        super().append(sequence, k_THD, v_THD.to(k_THD.dtype))
