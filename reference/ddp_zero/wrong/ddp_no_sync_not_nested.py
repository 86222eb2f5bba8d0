# base = "solution"
# caught_by = "DDP.accumulation"
# cause = "wrong_value"
# also_fails = []

"""The end of an inner `no_sync()` ends the outer one too: its pass launches buckets."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    @contextlib.contextmanager
    def no_sync(self):
        self._syncs = False
        try:
            yield
        finally:
            self._syncs = True
