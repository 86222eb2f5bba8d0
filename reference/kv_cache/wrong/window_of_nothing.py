# base = "solution"
# caught_by = "SlidingWindowCache.rejects"
# cause = "wrong_error"
# also_fails = []

"""Takes a window of 0 for one of 1."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def __init__(self, *sizes, window, **options):
        super().__init__(*sizes, window=max(window, 1), **options)
