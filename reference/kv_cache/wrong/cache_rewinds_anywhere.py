# base = "solution"
# caught_by = "KVCache.truncate"
# cause = "wrong_error"
# also_fails = ["KVCache.combinations"]

"""Takes a length outside of what is stored for the nearest one inside."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def truncate(self, length):
        super().truncate(min(max(length, 0), self._length))
