# base = "solution"
# caught_by = "ZeroOptimizer.unused"
# cause = "wrong_value"
# also_fails = []

"""Divides a gradient by the number of ranks that have one."""

# ruff: noqa: F821 - appended to solution.py

_reduce = _Block.reduce


def _mean_of_users(self):
    users = torch.tensor([float(param.grad is not None) for param in self.params])
    dist.all_reduce(users)
    for param, count in zip(self.params, users.tolist(), strict=True):
        if param.grad is not None:
            param.grad.mul_(self._world / count)
    return _reduce(self)


_Block.reduce = _mean_of_users
