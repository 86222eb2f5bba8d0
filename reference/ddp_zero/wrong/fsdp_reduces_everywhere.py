# base = "solution"
# caught_by = "FSDP.traffic"
# cause = "too_much_traffic"
# also_fails = []

"""Right, but averages whole gradients on all ranks before each takes its shard."""

# ruff: noqa: F821 - appended to solution.py


class _Flat(_Flat):
    def reduce(self):
        for param in self.params:
            if param.grad is not None:
                dist.all_reduce(param.grad)
                param.grad /= self._world
        own, self._world = self._world, 1
        kept = globals()["reduce_scatter"]
        globals()["reduce_scatter"] = self._take
        super().reduce()
        globals()["reduce_scatter"], self._world = kept, own

    def _take(self, shard_S, whole_NS):
        shard_S.copy_(whole_NS.view(dist.get_world_size(), -1)[self._rank])
