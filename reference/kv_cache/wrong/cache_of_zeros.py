# base = "solution"
# caught_by = "KVCache.append_chunks"
# cause = "wrong_value"
# also_fails = [
#   "KVCache.empty_append",
#   "KVCache.owns_memory",
#   "KVCache.truncate",
#   "KVCache.failed_append",
#   "KVCache.combinations",
# ]

"""Counts tokens and returns zeros."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def keys(self):
        return torch.zeros_like(super().keys())

    def values(self):
        return torch.zeros_like(super().values())
