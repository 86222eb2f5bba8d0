# base = "solution"
# caught_by = "fork.exhaustion"
# cause = "wrong_error"
# also_fails = ["fork.combinations"]

"""Appends as many tokens as there is room for, in silence."""

# ruff: noqa: F821 - appended to solution.py


class ForkingCache(ForkingCache):
    def append(self, sequence, k_THD, v_THD):
        for count in range(len(k_THD), 0, -1):
            try:
                super().append(sequence, k_THD[:count], v_THD[:count])
                return
            except RuntimeError:
                continue
        super().append(sequence, k_THD[:0], v_THD[: len(v_THD) - len(k_THD)])
