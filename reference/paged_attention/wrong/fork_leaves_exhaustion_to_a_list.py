# base = "solution"
# caught_by = "fork.exhaustion"
# cause = "wrong_error"
# also_fails = ["fork.combinations"]

"""Too few free blocks raise the error of an empty list."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def append(self, sequence, k_THD, v_THD):
        try:
            super().append(sequence, k_THD, v_THD)
        except RuntimeError as error:
            raise IndexError("pop from an empty list") from error
