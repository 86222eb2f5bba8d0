# base = "solution"
# caught_by = "DDP.traffic"
# cause = "too_much_traffic"
# also_fails = []

"""Right, but every pass synchronises: means add up to the same mean."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    @contextlib.contextmanager
    def no_sync(self):
        yield
        self.finish_backward()
