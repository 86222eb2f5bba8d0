# base = "solution"
# caught_by = "DDP.unused"
# cause = "wrong_value"
# also_fails = []

"""Divides by the number of ranks that used a parameter."""

# ruff: noqa: F821 - appended to solution.py


class DDP(DDP):
    def finish_backward(self):
        counts = torch.tensor([float(param.grad is not None) for param in self._params])
        super().finish_backward()
        dist.all_reduce(counts)
        for param, count in zip(self._params, counts, strict=True):
            if count:
                param.grad *= dist.get_world_size() / count
