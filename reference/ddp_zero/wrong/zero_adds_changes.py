# base = "solution"
# caught_by = "ZeroOptimizer.stage_1"
# cause = "wrong_value"
# also_fails = ["ZeroOptimizer.stage_2"]

"""Owners send how their part has changed; what others add it to rounds otherwise."""

# ruff: noqa: F821 - appended to solution.py


class _Block(_Block):
    def update(self, gradient, steps):
        self._was = torch.zeros(self.size, dtype=self.params[0].dtype)
        for param, place, in_shard in self.pieces():
            self._was[in_shard] = param.data.view(-1)[place]
        super().update(gradient, steps)

    def gather_parameters(self):
        changes = torch.zeros_like(self._was)
        own = []
        for param, place, in_shard in self.pieces():
            now = param.data.view(-1)[place].clone()
            changes[in_shard] = now - self._was[in_shard]
            own.append((param, place, now))
        for param, part in zip(self.params, self.gather(changes), strict=True):
            param.data.view(-1).add_(part)
        for param, place, now in own:
            param.data.view(-1)[place] = now
