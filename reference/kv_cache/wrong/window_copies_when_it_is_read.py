# base = "solution"
# caught_by = "SlidingWindowCache.ring"
# cause = "wrong_value"
# also_fails = ["SlidingWindowCache.combinations"]

"""Keeps the last chunk of the caller, and copies it when somebody looks."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def append(self, k_BHTD, v_BHTD):
        self._settle()
        start = self._length
        super().append(k_BHTD, v_BHTD)
        self._late = (start, k_BHTD, v_BHTD)

    def _settle(self):
        start, *chunk = self.__dict__.pop("_late", (self._length,))
        if chunk:
            self._length = start
            super().append(*chunk)

    def keys(self):
        self._settle()
        return super().keys()

    def values(self):
        self._settle()
        return super().values()

    def truncate(self, length):
        self._settle()
        super().truncate(length)
