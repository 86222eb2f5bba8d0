# base = "solution"
# caught_by = "KVCache.truncate"
# cause = "crash"
# also_fails = ["KVCache.combinations"]

"""Refuses to rewind to length 0, which a new request needs."""

# ruff: noqa: F821 - appended to solution.py


class KVCache(KVCache):
    def truncate(self, length):
        if length == 0:
            raise ValueError("nothing would be left")
        super().truncate(length)
