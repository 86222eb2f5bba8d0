# base = "solution"
# caught_by = "DDP.overlap"
# cause = "too_slow"
# also_fails = []

"""Right, but buckets are launched when backward has ended."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    def _on_gradient(self, param):
        pass
