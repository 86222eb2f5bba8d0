# base = "solution"
# caught_by = "DDP.accumulation"
# cause = "wrong_value"
# also_fails = []

"""`no_sync` turns hooks off and nothing turns them on; buckets are launched as they were filled."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    @contextlib.contextmanager
    def no_sync(self):
        self._syncs = False
        yield

    def finish_backward(self):
        if self._syncs:
            super().finish_backward()
