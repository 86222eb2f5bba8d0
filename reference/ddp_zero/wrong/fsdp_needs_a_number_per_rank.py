# base = "solution"
# caught_by = "FSDP.odd_sizes"
# cause = "crash"
# also_fails = []

"""Refuses units with fewer numbers than ranks."""

# ruff: noqa: F821 - appended to solution.py


class _Flat(_Flat):
    def __init__(self, params):
        if sum(param.numel() for param in params) < dist.get_world_size():
            raise RuntimeError("a shard without numbers")
        super().__init__(params)
