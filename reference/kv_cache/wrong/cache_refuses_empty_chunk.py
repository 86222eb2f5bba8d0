# base = "solution"
# caught_by = "KVCache.empty_append"
# cause = "crash"
# also_fails = ["KVCache.combinations"]

"""Takes a chunk without tokens for a mistake."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def append(self, k_BHTD, v_BHTD):
        if k_BHTD.numel() == 0:
            raise ValueError("nothing to append")
        super().append(k_BHTD, v_BHTD)
