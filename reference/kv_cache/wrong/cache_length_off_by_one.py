# base = "solution"
# caught_by = "KVCache.append_chunks"
# cause = "wrong_value"
# also_fails = [
#   "KVCache.empty_append",
#   "KVCache.truncate",
#   "KVCache.failed_append",
#   "KVCache.combinations",
# ]

"""Returns the position of the next token plus one as the length."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    @property
    def length(self):
        return self._length + 1
