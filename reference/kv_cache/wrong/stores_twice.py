# base = "solution"
# caught_by = "KVCache.presized_memory"
# cause = "too_much_memory"

"""Right, but keeps every chunk a second time, to be on the safe side."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def append(self, k_BHTD, v_BHTD):
        super().append(k_BHTD, v_BHTD)
        self.__dict__.setdefault("_kept", []).append((k_BHTD.clone(), v_BHTD.clone()))
