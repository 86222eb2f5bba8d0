# base = "solution"
# caught_by = "SlidingWindowCache.rejects"
# cause = "wrong_error"
# also_fails = []

"""Takes a negative number of sinks for none."""

# ruff: noqa: F821 - appended to solution.py


class SlidingWindowCache(SlidingWindowCache):
    def __init__(self, *sizes, n_sinks=0, **options):
        super().__init__(*sizes, n_sinks=max(n_sinks, 0), **options)
