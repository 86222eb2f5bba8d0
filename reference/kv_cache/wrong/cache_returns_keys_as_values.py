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

"""Returns the keys where values are asked for."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def values(self):
        return self.keys()
