# base = "solution"
# caught_by = "fork.combinations"
# cause = "wrong_value"
# also_fails = []

"""Returns float32, whatever is stored."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def gather(self, sequence):
        k, v = super().gather(sequence)
        return k.float(), v.float()
