# base = "solution"
# caught_by = "ZeroOptimizer.checkpoint"
# cause = "wrong_value"
# also_fails = []

"""Every rank returns the whole state."""

# ruff: noqa: F821 - appended to solution.py


class ZeroOptimizer(ZeroOptimizer):
    def state_dict(self):
        found = [super().state_dict()]
        dist.broadcast_object_list(found, src=0)
        return found[0]
