# base = "solution"
# caught_by = "ZeroOptimizer.stage_1_memory"
# cause = "too_much_memory"
# also_fails = ["ZeroOptimizer.stage_2_memory"]

"""Right, and at the right traffic: all-reduce and a plain AdamW, all of its state on every rank."""

# ruff: noqa: F821 - appended to solution.py


class _Block(_Block):
    """Its shard is the whole."""

    def __init__(self, params, group):
        super().__init__(params, group)
        self.size *= self._world
        self.moments = [torch.zeros(self.size, dtype=params[0].dtype) for _ in range(2)]

    def pieces(self):
        start = 0
        for param in self.params:
            stop = start + param.numel()
            yield param, slice(0, param.numel()), slice(start, stop)
            start = stop

    def reduce(self):
        whole = torch.zeros(self.size, dtype=self.params[0].dtype)
        for param, _, place in self.pieces():
            if param.grad is not None:
                whole[place] = param.grad.view(-1)
        dist.all_reduce(whole)
        return whole.div_(self._world)

    def gather(self, shard):
        return list(shard[: self._numel].split([param.numel() for param in self.params]))

    def gather_parameters(self):
        pass
