# base = "solution"
# caught_by = "ZeroOptimizer.checkpoint"
# cause = "wrong_value"
# also_fails = ["ZeroOptimizer.groups", "ZeroOptimizer.bad_input"]

"""Saves what rank 0 holds: the moments of all other shards are zeros."""

# ruff: noqa: F821 - appended to solution.py


class _Block(_Block):
    def gather(self, shard):
        caller_saves = any(shard is moment for moment in self.moments)
        parts = super().gather(shard)
        if caller_saves and self._world > 1:
            whole = torch.cat(parts)
            whole[self.size :] = 0
            parts = list(whole.split([param.numel() for param in self.params]))
        return parts
