# base = "solution"
# caught_by = "ZeroOptimizer.stage_1_traffic"
# cause = "too_much_traffic"
# also_fails = []

"""Right, but stage 1 averages whole gradients on all ranks before each takes its shard."""

# ruff: noqa: F821 - appended to solution.py


class _Block(_Block):
    def average(self):
        whole = torch.zeros(self._world * self.size, dtype=self.params[0].dtype)
        parts = whole[: self._numel].split([param.numel() for param in self.params])
        for param, part in zip(self.params, parts, strict=True):
            if param.grad is not None:
                part.view(param.shape).copy_(param.grad)
        dist.all_reduce(whole)
        return whole.view(self._world, -1)[self._rank].clone().div_(self._world)


class ZeroOptimizer(ZeroOptimizer):
    def step(self):
        if self._stage == 1:
            for block in self._blocks:
                block.reduce = block.average
        super().step()
