# base = "solution"
# caught_by = "KVCache.failed_append"
# cause = "wrong_error"
# also_fails = []
"""Takes one token of values for several keys."""
# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def append(self, k_BHTD, v_BHTD):
        if v_BHTD.dim() == 4 and v_BHTD.shape[2] == 1 and k_BHTD.dim() == 4:
            v_BHTD = v_BHTD.expand(-1, -1, k_BHTD.shape[2], -1)
        super().append(k_BHTD, v_BHTD)
